"""Every figure of one batch of images, sample by sample, in as few forwards as they need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from egat_hub.attacks import ATTACKS, Attack, attack_curve
from egat_hub.attacks.base import check_epsilon
from egat_hub.backbone import Backbone, View
from egat_hub.engine.attacked_maps import attacked_maps
from egat_hub.explanation_attacks import EXPLANATION_ATTACKS, ExplanationAttack
from egat_hub.explanations import EXPLANATIONS, Explanation, dead
from egat_hub.metrics import CONTROLS, STABILITY, Faithfulness
from egat_hub.modes import evaluating
from egat_hub.randomness import SampleRandom

PROTOCOL = 1
"""Version of how figures are computed; rows of another one are measured again."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured, and how.

    Attributes:
        epsilons: attack budgets in [0, 1]; none for no attack.
        attack: name of an attack.
        attack_options: its fields, such as ``{"steps": 20}``.
        restarts: independent attacks a budget, the worst of which counts.
        explanation: name of an explanation, or None for accuracy only. It is left out where the network's
            head does not look at its last map.
        faithfulness: how Comp and Suff are measured, or None to leave them out.
        explanation_attacks: names of attacks on the explanation itself, at the smallest budget. Each costs
            150 passes with Grad-CAM, where PGD of 10 steps costs 20, and more with gradients by pixels.
        explanation_attack_options: fields that all of them have, such as ``{"restarts": 5}``.
        seed: seed of attack starts and random control maps.
        batch_size: images in a forward.

    Raises:
        ValueError: an epsilon outside [0, 1], or fewer than 1 restart.
    """

    epsilons: tuple[float, ...] = (0.01,)
    attack: str = "pgd"
    attack_options: dict[str, Any] = field(default_factory=dict)
    restarts: int = 1
    explanation: str | None = "grad_cam"
    faithfulness: Faithfulness | None = field(default_factory=Faithfulness)
    explanation_attacks: tuple[str, ...] = ()
    explanation_attack_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"Expected batch_size of at least 1, got {self.batch_size}.")
        for epsilon in self.epsilons:
            check_epsilon(epsilon)
        if self.restarts < 1:
            raise ValueError(f"Expected at least 1 restart, got {self.restarts}.")
        self.build_attack()
        self.build_explanation_attacks()

    def build_attack(self) -> Attack:
        """The attack that is configured."""
        return ATTACKS[self.attack](**self.attack_options)

    def build_explanation_attacks(self) -> dict[str, ExplanationAttack]:
        """The attacks on explanations that are configured, by name."""
        options = self.explanation_attack_options
        return {name: EXPLANATION_ATTACKS[name](**options) for name in self.explanation_attacks}


class Column(NamedTuple):
    """One figure and what defines it."""

    metric: str
    protocol: tuple[tuple[str, Any], ...] = ()


Columns = dict[Column, Tensor]
"""Values [B] by column; NaN where a figure is not defined for a sample."""


@torch.no_grad()
def measure(
    model: nn.Module, images: Tensor, labels: Tensor, random: SampleRandom, config: EvaluationConfig
) -> Columns:
    """Measure a batch.

    Args:
        model: images in [0,1] to logits; explanations need a :class:`Backbone`.
        images: [B,3,H,W] in [0,1].
        labels: true classes [B].
        random: keyed random numbers of these images.
        config: what to measure.

    Raises:
        ValueError: a label that is no class of the model.
    """
    with evaluating(model), _full_precision(images):
        view = model.view(images) if isinstance(model, Backbone) else View(images, images, model(images))
        _check_labels(labels, view.logits.shape[1])
        correct = view.logits.argmax(1) == labels
        columns = {Column("cAcc"): _percent(correct)}
        explained = _explain(model, view, config) if isinstance(model, Backbone) else None
        if explained:
            columns |= _dead_maps(explained)
            if config.faithfulness:
                columns |= _faithfulness(explained, labels, random, config.faithfulness)
        if config.epsilons:
            attack = config.build_attack()
            points = attack_curve(
                model,
                attack,
                images,
                labels,
                config.epsilons,
                restarts=config.restarts,
                random=random,
                correct=correct,
            )
            protocols = [_attack_protocol(config, attack, point.epsilon) for point in points]
            for point, protocol in zip(points, protocols, strict=True):
                columns[_column("aAcc", protocol)] = _percent(point.correct)
            if explained:
                columns |= _stability(explained, correct, points[0].images, protocols[0])
                for metric, protocol, values in attacked_maps(
                    explained.backbone,
                    images,
                    correct,
                    random,
                    attacks=config.build_explanation_attacks(),
                    explanation=explained.name,
                    epsilon=points[0].epsilon,
                ):
                    columns[_column(metric, protocol)] = values
    return columns


@dataclass(frozen=True, eq=False)
class _Explained:
    """A batch and the signed maps of its predicted classes; their ReLU is what is shown and trained.

    Negative values order the pixels that the ReLU would make equal, so that a top region larger than the
    positive part of a map is not filled up in an order that means nothing.
    """

    backbone: Backbone
    view: View
    name: str
    explanation: Explanation
    predicted: Tensor
    maps: Tensor


def _explain(backbone: Backbone, view: View, config: EvaluationConfig) -> _Explained | None:
    if config.explanation is None or backbone.head_form == "independent":
        return None
    explanation = EXPLANATIONS[config.explanation](relu=False, normalize="none")
    predicted = view.logits.argmax(1)
    maps = explanation.of(backbone, view, predicted)
    return _Explained(backbone, view, config.explanation, explanation, predicted, maps)


def _dead_maps(explained: _Explained) -> Columns:
    return {_column("DeadMaps", {"explanation": explained.name}): _percent(dead(explained.maps.relu()))}


def _faithfulness(
    explained: _Explained, labels: Tensor, random: SampleRandom, faithful: Faithfulness
) -> Columns:
    backbone, view = explained.backbone, explained.view
    classes, maps = explained.predicted, explained.maps
    if faithful.target == "label":
        classes, maps = labels, explained.explanation.of(backbone, view, labels)
    probability = view.logits.float().softmax(1).gather(1, classes[:, None])[:, 0]
    columns = {}
    for name, judged in {"model": maps, **{n: CONTROLS[n](maps, random) for n in CONTROLS}}.items():
        comp, suff = faithful(backbone, view.images, judged, classes, probability)
        settings = {"q": faithful.q, "fill": faithful.fill, "class": faithful.target}
        protocol = {"explanation": explained.name, "map": name, **settings}
        columns[_column("Comp", protocol)] = _where(~dead(judged), 100 * comp)
        columns[_column("Suff", protocol)] = _where(~dead(judged), 100 * suff)
    return columns


def _stability(
    explained: _Explained, correct: Tensor, attacked: Tensor, attacked_by: Mapping[str, Any]
) -> Columns:
    """Maps of the same class before and after the attack, where the clean prediction is right."""
    backbone, maps = explained.backbone, explained.maps
    other = explained.explanation.of(backbone, backbone.view(attacked), explained.predicted)
    lost = dead(maps.relu()) | dead(other.relu())
    protocol = {"explanation": explained.name, **attacked_by}
    columns = {_column("DeadPairs", protocol): _where(correct, _percent(lost))}
    for name in STABILITY:
        agreement = STABILITY[name](maps, other, tuple(attacked.shape[-2:]))
        columns[_column("Stability", {"measure": name, **protocol})] = _where(correct & ~lost, agreement)
    return columns


def _check_labels(labels: Tensor, classes: int) -> None:
    first, last = int(labels.min()), int(labels.max())
    if first < 0 or last >= classes:
        raise ValueError(
            f"Expected labels from 0 to below {classes}, the number of the model's classes, got "
            f"{first if first < 0 else last}. Judge a model on the classes that it was trained on."
        )


@contextmanager
def _full_precision(images: Tensor) -> Iterator[None]:
    """No autocast, and no TF32 in convolutions, whatever the caller has set."""
    cudnn = torch.backends.cudnn
    kept = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
    with torch.autocast(images.device.type, enabled=False), cudnn.flags(**kept, allow_tf32=False):
        yield


def _attack_protocol(config: EvaluationConfig, attack: Attack, epsilon: float) -> dict[str, Any]:
    settings = {**attack.protocol(), "restarts": config.restarts}
    return {"attack": config.attack, "epsilon": epsilon, **settings}


def _column(metric: str, protocol: Mapping[str, Any]) -> Column:
    return Column(metric, tuple(protocol.items()))


def _percent(condition: Tensor) -> Tensor:
    return 100.0 * condition.float()


def _where(condition: Tensor, values: Tensor) -> Tensor:
    return torch.where(condition, values.float(), torch.nan)
