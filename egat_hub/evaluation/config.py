"""Options of an evaluation, and its metrics on a batch of images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from egat_hub.attacks import ATTACKS, EXPLANATION_ATTACKS, Attack, ExplanationAttack, attack_curve
from egat_hub.attacks.base import check_epsilon
from egat_hub.core.config import from_dict
from egat_hub.core.metric import METRICS, Values
from egat_hub.core.randomness import SampleRandom
from egat_hub.data.corruptions import SEVERITIES
from egat_hub.metrics import EvaluationBatch, Faithfulness, InsertionDeletion, Localisation
from egat_hub.metrics.accuracy import (
    check_corruptions,
    corruption_accuracy,
    pixel_distances,
    robust_accuracy,
    robust_accuracy_8bit,
)
from egat_hub.metrics.stability import explanation_attacks, stability
from egat_hub.models.train_mode import evaluating, full_precision

PROTOCOL = 2
"""Version of the evaluation protocol; results of another version are measured again."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Options of an evaluation.

    Attributes:
        epsilons: attack budgets in [0, 1], or one; empty for no attack.
        attack: name of the attack.
        attack_options: its fields, such as ``{"steps": 20}``.
        restarts: attacks per budget, of which the worst for the model counts.
        metrics: names of metrics without settings (those with ``Metric.measure``).
        explanation: name of the explanation, or None for accuracy only. Skipped if the network has no map
            that its logits depend on.
        faithfulness: options of comprehensiveness and sufficiency, or None to skip them.
        insertion_deletion: options of the insertion and deletion metrics, or None to skip them. They cost 58
            forwards for each of three maps by default.
        localisation: options of the comparison of maps with object masks, or None to skip it. It needs masks
            and no forwards.
        explanation_attacks: names of attacks on the explanation, at the smallest budget. Each costs 150
            forward-equivalents with Grad-CAM and more with pixel gradients; PGD with 10 steps costs 20.
        explanation_attack_options: fields of all of them, such as ``{"restarts": 5}``.
        corruptions: names of common corruptions, or ``("all",)`` for the 15 of ImageNet-C.
        severities: severities from 1 to 5. Each costs one forward per corruption.
        seed: seed of attacks, random control maps and corruptions.
        batch_size: images per forward.
        checks: number of images for sanity checks of the attack (:mod:`egat_hub.evaluation.sanity`), spread
            evenly over the data set; 0 for none.

    Raises:
        ValueError: a value out of range, or a metric with settings in ``metrics``.
        UnknownNameError: an unknown metric, attack or corruption.
    """

    epsilons: tuple[float, ...] = (0.01,)
    attack: str = "pgd"
    attack_options: dict[str, Any] = field(default_factory=dict)
    restarts: int = 1
    metrics: tuple[str, ...] = ("clean_accuracy", "dead_maps")
    explanation: str | None = "grad_cam"
    faithfulness: Faithfulness | None = field(default_factory=Faithfulness)
    insertion_deletion: InsertionDeletion | None = None
    localisation: Localisation | None = field(default_factory=Localisation)
    explanation_attacks: tuple[str, ...] = ()
    explanation_attack_options: dict[str, Any] = field(default_factory=dict)
    corruptions: tuple[str, ...] = ()
    severities: tuple[int, ...] = SEVERITIES
    seed: int = 0
    batch_size: int = 64
    checks: int = 64

    def __post_init__(self) -> None:
        if self.checks < 0:
            raise ValueError(f"Expected checks of at least 0 images, got {self.checks}.")
        if self.batch_size < 1:
            raise ValueError(f"Expected batch_size of at least 1, got {self.batch_size}.")
        epsilons = tuple(float(epsilon) for epsilon in np.atleast_1d(self.epsilons))
        object.__setattr__(self, "epsilons", epsilons)
        for epsilon in epsilons:
            check_epsilon(epsilon)
        if self.restarts < 1:
            raise ValueError(f"Expected at least 1 restart, got {self.restarts}.")
        for name in self.metrics:
            if METRICS[name].measure is None:
                alone = ", ".join(name for name in METRICS if METRICS[name].measure)
                raise ValueError(f"{name} has its own option of the evaluation; metrics can be {alone}.")
        self.build_attack()
        self.build_explanation_attacks()
        check_corruptions(self.corruptions, self.severities)

    def accuracy_only(self, **changes: Any) -> EvaluationConfig:
        """This config with other fields, reduced to clean and robust accuracy."""
        nothing: dict[str, Any] = {"explanation_attacks": (), "corruptions": (), "checks": 0}
        nothing |= dict.fromkeys(("explanation", "faithfulness", "insertion_deletion", "localisation"))
        return replace(self, **{"metrics": ("clean_accuracy",), **nothing, **changes})

    def build_attack(self) -> Attack:
        """The configured attack."""
        return from_dict(ATTACKS[self.attack], self.attack_options)

    def build_explanation_attacks(self) -> dict[str, ExplanationAttack]:
        """The configured attacks on explanations, by name."""
        options = self.explanation_attack_options
        return {name: from_dict(EXPLANATION_ATTACKS[name], options) for name in self.explanation_attacks}


@torch.no_grad()
def measure(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    random: SampleRandom,
    config: EvaluationConfig,
    masks: Tensor | None = None,
    *,
    classes: int | None = None,
    attack: Attack | None = None,
) -> Values:
    """Measure a batch.

    Args:
        model: images in [0,1] to logits; explanations need a :class:`TimmModel`.
        images: [B,3,H,W] in [0,1].
        labels: true classes [B].
        random: keyed random numbers of these images.
        config: what to measure.
        masks: objects of the images [B,1,H,W] in [0,1], if there are any.
        classes: number of classes of the data set, if known.
        attack: attack to use instead of the configured one.

    Raises:
        ValueError: a label out of range, or a model with another number of classes.
    """
    with evaluating(model), full_precision(images.device):
        batch = EvaluationBatch(
            model, images, labels, random, masks, explanation=config.explanation, chunk=config.batch_size
        )
        _check_labels(labels, batch.logits.shape[1], classes)
        values: Values = {}
        for name in config.metrics:
            if found := METRICS[name].measure:
                values |= found(batch)
        if batch.network is not None:
            for family in (config.faithfulness, config.insertion_deletion, config.localisation):
                values |= family.measure(batch) if family else {}
        if config.epsilons:
            values |= _measure_attacks(batch, config, attack or config.build_attack())
        return values | corruption_accuracy(batch, config.corruptions, config.severities)


def _measure_attacks(batch: EvaluationBatch, config: EvaluationConfig, attack: Attack) -> Values:
    name, attack = attack.name, attack.adapted(batch.model, batch.images)
    points = attack_curve(
        batch.model,
        attack,
        batch.images,
        batch.labels,
        config.epsilons,
        restarts=config.restarts,
        random=batch.random,
        correct=batch.correct,
    )
    settings = {**attack.protocol(), "restarts": config.restarts}
    protocols = [{"attack": name, **attack.budget(point.epsilon), **settings} for point in points]
    values: Values = {}
    before = batch.correct
    for point, protocol in zip(points, protocols, strict=True):
        values |= robust_accuracy(point, protocol)
        if attack.space == "pixels":
            values |= robust_accuracy_8bit(batch, point, protocol)
        else:
            values |= pixel_distances(batch, point, protocol, before & ~point.correct)
        before = point.correct
    if batch.network is not None and attack.space == "pixels":
        values |= stability(batch, points[0].images, protocols[0])
        values |= explanation_attacks(batch, config.build_explanation_attacks(), points[0].epsilon)
    return values


def _check_labels(labels: Tensor, classes: int, expected: int | None) -> None:
    advice = "Evaluate a model on the classes it was trained on."
    if expected not in (None, classes):
        raise ValueError(
            f"Expected a model of the data set's {expected} classes, in their order, got one of {classes}. "
            + advice
        )
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ValueError(
            f"Expected labels from 0 to below {classes}, the number of the model's classes, got {wrong[0]}. "
            + advice
        )
