"""Clean accuracy, and accuracy under attack and under common corruptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from egat_hub.attacks import CurvePoint, to_eight_bits
from egat_hub.attacks.auto_attack_parts import INNER_GRADIENT, PROBABILITIES, RANDOMNESS
from egat_hub.core.metric import Key, Metric, Section, Values, is_correct, key, percent, register, where
from egat_hub.core.results import SANITY_CHECK
from egat_hub.data.corruptions import CORRUPTIONS, IMAGENET_C, LENGTHS, check_severity, families
from egat_hub.metrics.batch import EvaluationBatch

CLEAN = Section("Clean accuracy")
ATTACKED = Section("Accuracy under attack", across="epsilon")
CHECKS = Section(
    "Sanity checks",
    "Signs that an attack was too weak, or that metrics of explanations mean little. A value above its limit "
    "fails the check.",
    across="check",
)
ENSEMBLE = Section(
    "Accuracy after each part of an attack",
    "A part attacks what the parts before it left; the last value is that of the whole attack.",
    across="after",
)
CORRUPTED = Section("Accuracy under common corruptions", across="severity")

_accuracy = partial(Metric, better="higher")
_headline = partial(_accuracy, table="results", headline=True)
register(
    _headline(
        name="clean_accuracy",
        title="clean accuracy",
        about="share of images that are classified correctly, in %",
        section=CLEAN,
        hub_type="accuracy",
        measure=lambda batch: {Key("clean_accuracy"): percent(batch.correct)},
    ),
    _headline(
        name="robust_accuracy",
        title="robust accuracy",
        about="share of images that are classified correctly both clean and under attack, in %",
        section=ATTACKED,
        columns="epsilon",
        hub_type="accuracy",
    ),
    _accuracy(
        name="robust_accuracy_8bit",
        title="robust accuracy, 8 bits",
        about="the same with attacked images rounded to 8 bits per channel, within the ball",
        section=ATTACKED,
    ),
    Metric(
        name=SANITY_CHECK,
        title="sanity check",
        about="share of images, in %, that show a sign, or difference of two accuracies",
        section=CHECKS,
    ),
    _accuracy(
        name="robust_accuracy_after",
        title="robust accuracy after",
        about="share of images, in %, that are still classified correctly",
        section=ENSEMBLE,
    ),
    _accuracy(
        name="corruption_accuracy",
        title="corruption accuracy",
        about="share of images that are classified correctly when corrupted, in %",
        section=CORRUPTED,
    ),
    _headline(
        name="mean_corruption_accuracy",
        title="mean corruption accuracy",
        about="its mean over corruptions and severities",
        section=CORRUPTED,
    ),
    Metric(
        name="pixel_linf",
        title="pixel Linf",
        about="mean of the largest change of a pixel, of the images that a latent attack breaks",
        section=ATTACKED,
    ),
    Metric(
        name="pixel_l2",
        title="pixel L2",
        about="mean L2 norm of the change, of the images that a latent attack breaks",
        section=ATTACKED,
    ),
)

LIMIT = 5.0
"""Difference in accuracy, in percent, that is not a failure: three of 64 images."""

OF_THE_MODEL = (RANDOMNESS, PROBABILITIES, INNER_GRADIENT)
"""Checks of the model as a whole, which do not fail by chance."""


def robust_accuracy(point: CurvePoint, protocol: Mapping[str, Any]) -> Values:
    """Robust accuracy, also after each part of the attack, and its sanity checks."""
    values = {key("robust_accuracy", protocol): percent(point.correct)}
    for part, correct in point.correct_after.items():
        values[key("robust_accuracy_after", {**protocol, "after": part})] = percent(correct)
    for check, raised in point.flags.items():
        limit = 0.0 if check in OF_THE_MODEL else LIMIT
        values[key(SANITY_CHECK, {"check": check, "limit": limit, **protocol})] = 100 * raised
    return values


def robust_accuracy_8bit(batch: EvaluationBatch, point: CurvePoint, protocol: Mapping[str, Any]) -> Values:
    """Robust accuracy on attacked images rounded to 8 bits per channel.

    Cost: a forward of the correctly classified images.
    """
    correct = batch.correct.clone()
    if correct.any():
        chosen = batch.correct
        stored = to_eight_bits(point.images[chosen], batch.images[chosen], point.epsilon)
        correct[chosen] = is_correct(batch.model(stored), batch.labels[chosen])
    return {key("robust_accuracy_8bit", protocol): percent(correct)}


def pixel_distances(
    batch: EvaluationBatch, point: CurvePoint, protocol: Mapping[str, Any], broken: Tensor
) -> Values:
    """Distance in pixels of the ``broken`` images [B], for attacks that do not bound pixels."""
    moved = (point.images - batch.images).flatten(1)
    return {
        key("pixel_linf", protocol): where(broken, moved.abs().amax(1)),
        key("pixel_l2", protocol): where(broken, moved.norm(dim=1)),
    }


def corruption_accuracy(
    batch: EvaluationBatch, corruptions: Sequence[str], severities: Sequence[int]
) -> Values:
    """Accuracy under each corruption at each severity, and their mean.

    The mean corruption error (mCE) of Hendrycks and Dietterich 2019 divides the error of each corruption by
    AlexNet's on ImageNet-C, so it is not meaningful on other data.
    """
    names = families(corruptions)
    rules: dict[str, Any] = {"lengths": LENGTHS}
    values: Values = {}
    for name in names:
        corruption = CORRUPTIONS[name]
        for severity in severities:
            logits = batch.model(corruption(batch.images, severity, batch.random))
            protocol = {"corruption": name, "severity": severity, **rules, **corruption.notes}
            values[key("corruption_accuracy", protocol)] = percent(is_correct(logits, batch.labels))
    if values:
        names_text = "all 15 of ImageNet-C" if names == IMAGENET_C else ", ".join(names)
        notes = {f"{name} {key}": note for name in names for key, note in CORRUPTIONS[name].notes.items()}
        over = {"corruptions": names_text, "severities": ", ".join(map(str, severities))}
        mean = torch.stack([*values.values()]).mean(0)
        values[key("mean_corruption_accuracy", {**over, **rules, **notes})] = mean
    return values


def check_corruptions(corruptions: Sequence[str], severities: Sequence[int]) -> None:
    """Check names of corruptions and severities.

    Raises:
        UnknownNameError: an unknown corruption.
        ValueError: a string instead of a list, no severity, a repeated one, or one outside 1 to 5.
    """
    if isinstance(corruptions, str):
        raise ValueError(
            f"Expected names of corruptions in a tuple, ({corruptions!r},), got {corruptions!r}."
        )
    for severity in severities:
        check_severity(severity)
    if families(corruptions) and not severities:
        raise ValueError("Expected severities among 1 to 5 for the corruptions, got none.")
    if len(set(severities)) < len(severities):
        raise ValueError(f"Expected every severity once, got {', '.join(map(str, severities))}.")
