"""Configuration of a run: model, data, training method and evaluation; named variants of EGAT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from egat_hub.core.config import digest, non_default
from egat_hub.data import DataConfig
from egat_hub.evaluation import EvaluationConfig
from egat_hub.methods import METHODS, MethodConfig
from egat_hub.models import ModelConfig
from egat_hub.training import FinetuneConfig, TrainConfig

PATHS = ("dir", "masks_dir")
"""Fields of :class:`DataConfig` that are paths."""

IMAGE_SIZE = 224
"""Default side of the images for networks of timm."""


@dataclass(frozen=True, kw_only=True)
class ExtraAttack:
    """Another attack on the test images of the training domain, such as AutoAttack.

    Attributes:
        attack: name of the attack, such as ``"auto_attack"``.
        attack_options: its fields, such as ``{"iterations": 20}``.
        restarts: independent attacks per budget; the worst counts.
        epsilons: budgets in [0, 1]; by default the budget of the run.
        images: number of test images, a random subset that is the same for all runs; by default all.

    Raises:
        ValueError: a value out of range.
        ImportError: the package that the attack needs is not installed.
    """

    attack: str
    attack_options: dict[str, Any] = field(default_factory=dict)
    restarts: int = 1
    epsilons: tuple[float, ...] = ()
    images: int | None = None

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 1:
            raise ValueError(f"Expected at least 1 image for an extra attack, got {self.images}.")
        self.evaluation(EvaluationConfig())

    def evaluation(self, base: EvaluationConfig) -> EvaluationConfig:
        """``base`` with this attack alone."""
        settings = {
            name: getattr(self, name) for name in ("attack", "attack_options", "restarts", "epsilons")
        }
        return base.accuracy_only(**settings)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Configuration of a run: training and evaluation of one model.

    Attributes:
        method: name of the training method.
        method_config: its options; by default the method's defaults.
        data: data set; an ``image_size`` of None is that of a saved model, or 224.
        domain: domain to train on.
        seed: seed of weights, batches, dropout, attacks and mixup.
        model: where training starts; ``model.name`` is timm's name of a network, the folder of a saved model
            or of a run, or a model on the Hub (``"org/name"``, ``"org/name@revision"``).
        weights: digest of the weights of a saved model, filled in by :func:`resolve`.
        train: how the model is trained.
        finetune: how the layers below the head are trained.
        evaluation: what is measured on the training domain.
        test_domains: domains on which clean accuracy is measured besides; all by default.
        extra_attacks: attacks that are measured besides that of the evaluation.
        split: split that is evaluated, ``"test"`` or ``"val"``.
        label: name of the method in tables; by default ``method``.
    """

    method: str
    data: DataConfig
    domain: str
    seed: int = 0
    method_config: MethodConfig = None  # type: ignore[assignment]
    model: ModelConfig = ModelConfig()
    weights: str = ""
    train: TrainConfig = TrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    test_domains: tuple[str, ...] | None = None
    extra_attacks: tuple[ExtraAttack, ...] = ()
    split: str = "test"
    label: str = ""

    def __post_init__(self) -> None:
        config = self.method_config or METHODS[self.method].config_class()
        object.__setattr__(self, "method_config", config)
        object.__setattr__(self, "label", self.label or self.method)

    @property
    def identity(self) -> dict[str, Any]:
        """All settings that affect the trained model, without fields at their defaults.

        A saved model is identified by its weights, not by its path.
        """
        model = replace(self.model, name=ModelConfig().name) if self.weights else self.model
        parts = {
            "method": self.method,
            "method_config": non_default(self.method_config),
            "data": non_default(with_absolute_paths(self.data)),
            "domain": self.domain,
            "seed": self.seed,
            "model": non_default(model),
            "weights": self.weights,
            "train": non_default(self.train),
            "finetune": non_default(self.finetune),
        }
        return {name: part for name, part in parts.items() if part not in ("", {})}

    @property
    def name(self) -> str:
        """Name of the run's folder, different for runs that train different models."""
        return f"{self.method}_{self.domain}_seed{self.seed}_{digest(self.identity)}"

    @property
    def title(self) -> str:
        """The run in a few words, for progress messages."""
        return f"{self.label} on {self.domain}, seed {self.seed}"

    @property
    def image_size(self) -> int:
        """Side of the images in pixels, once the config is resolved."""
        return self.data.image_size or IMAGE_SIZE


def with_absolute_paths(data: DataConfig) -> DataConfig:
    """The same data set with absolute paths."""
    given = {name: getattr(data, name) for name in PATHS}
    paths: Any = {name: path and str(Path(path).expanduser().resolve()) for name, path in given.items()}
    return replace(data, **paths)


ABLATION: Mapping[str, Mapping[str, Any]] = {
    "egat_without_egl": {"lambda_egl": 0.0},
    "egat_without_at": {"lambda_adv": 0.0},
    "egat_without_reg": {"lambda_reg": 0.0},
    "egat_only_egl": {"lambda_adv": 0.0, "lambda_reg": 0.0},
    "egat_only_at": {"lambda_egl": 0.0, "lambda_reg": 0.0},
    "egat_only_reg": {"lambda_adv": 0.0, "lambda_egl": 0.0},
}
"""Variants of EGAT for Table IV of its paper, which has the first two. Each keeps the classification loss."""

SENSITIVITY: Mapping[str, Mapping[str, Any]] = {
    "egat_smooth_grad": {"explanation": "smooth_grad"},
    "egat_integrated_gradients": {"explanation": "integrated_gradients"},
    "egat_finer_cam": {"explanation": "finer_cam"},
    "egat_input_gradient": {"explanation": "input_gradient"},
    "egat_noisy_guide_1": {"guide_noise": 0.1},
    "egat_noisy_guide_2": {"guide_noise": 0.5},
}
"""Variants of EGAT for Table III of its paper, which has all but the plain gradient. The noise is assumed."""

GOLDEN: Mapping[str, Mapping[str, Any]] = {"egat_mask_guide": {"guide": "mask"}}
"""The variant of Table III that needs object masks."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {**ABLATION, **SENSITIVITY, **GOLDEN}
"""All variants of EGAT by name: the fields of its config that they change."""


def with_methods(
    base: RunConfig, names: Sequence[str], configs: Mapping[str, MethodConfig] | None = None
) -> list[RunConfig]:
    """``base`` with each of several methods, variants of EGAT, or groups of them.

    Args:
        base: run of any method.
        names: methods, variants, ``"all"`` for all methods and the ablation, ``"ablation"`` and
            ``"sensitivity"`` for their variants with the methods that the paper compares them with, or
            ``"golden"`` for the variant that is guided by object masks.
        configs: settings by method; by default the methods' defaults.
    """
    groups = {
        "all": [*METHODS, *ABLATION],
        "ablation": ["erm", "egat", *ABLATION],
        "sensitivity": ["igr", "sgdrop", "egat", *SENSITIVITY],
        "golden": [*GOLDEN],
    }
    runs = []
    for name in dict.fromkeys(member for asked in names for member in groups.get(asked, [asked])):
        method = "egat" if name in VARIANTS else name
        config = (configs or {}).get(method) or METHODS[method].config_class()
        changed = replace(config, **VARIANTS.get(name, {}))
        runs.append(replace(base, method=method, method_config=changed, label=name))
    return runs


def over_domains_and_seeds(
    runs: Sequence[RunConfig], domains: Sequence[str], seeds: Sequence[int]
) -> list[RunConfig]:
    """The runs on every domain with every seed, ordered by seed so that comparisons are complete early."""
    return [replace(run, domain=domain, seed=seed) for seed in seeds for domain in domains for run in runs]
