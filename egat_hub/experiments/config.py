"""Configuration of a run: model, data, training method and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from egat_hub.core.config import digest, non_default
from egat_hub.data import DataConfig
from egat_hub.evaluation import EvaluationConfig
from egat_hub.methods import METHODS, MethodConfig
from egat_hub.models import ModelConfig
from egat_hub.training import TrainConfig, Transfer

PATHS = ("dir", "masks_dir")
"""Fields of :class:`DataConfig` that are paths."""


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
        ValueError: an epsilon outside [0, 1], fewer than 1 restart, or no image.
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
        return base.accuracy_only(
            attack=self.attack,
            attack_options=self.attack_options,
            restarts=self.restarts,
            epsilons=self.epsilons,
        )


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
        transfer: how the layers below the head are trained.
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
    transfer: Transfer = Transfer()
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
            "transfer": non_default(self.transfer),
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


IMAGE_SIZE = 224
"""Default side of the images for networks of timm."""


def with_absolute_paths(data: DataConfig) -> DataConfig:
    """The same data set with absolute paths."""
    return replace(data, dir=_absolute(data.dir), masks_dir=_absolute(data.masks_dir))


def _absolute(path: str | None) -> str | None:
    return path and str(Path(path).expanduser().resolve())
