"""Accuracy under attack and under common corruptions, of a batch of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from egat_hub.attacks import CurvePoint, to_eight_bits
from egat_hub.attacks.auto_attack_parts import INNER_GRADIENT, PROBABILITIES, RANDOMNESS
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.results import SANITY_CHECK
from egat_hub.data.corruptions import CORRUPTIONS, IMAGENET_C, LENGTHS, check_severity, families
from egat_hub.evaluation.columns import Columns, column, percent
from egat_hub.evaluation.sanity import LIMIT

OF_THE_MODEL = (RANDOMNESS, PROBABILITIES, INNER_GRADIENT)
"""Flags about the model as a whole, which luck does not raise."""


def accuracy(point: CurvePoint, protocol: Mapping[str, Any]) -> Columns:
    """Robust accuracy, the same after each part of the attack, and what the attack found suspicious."""
    columns = {column("robust_accuracy", protocol): percent(point.correct)}
    for part, correct in point.correct_after.items():
        columns[column("robust_accuracy_after", {**protocol, "after": part})] = percent(correct)
    for flag, raised in point.flags.items():
        limit = 0.0 if flag in OF_THE_MODEL else LIMIT
        columns[column(SANITY_CHECK, {"check": flag, "limit": limit, **protocol})] = 100 * raised
    return columns


def as_stored(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    correct: Tensor,
    point: CurvePoint,
    protocol: Mapping[str, Any],
) -> Columns:
    """Robust accuracy on the attacked images as files of 8 bits hold them.

    Cost: a forward of the images that are classified correctly; others stay broken.

    Args:
        model: images in [0,1] to logits, in eval mode.
        images: clean images [B,3,H,W] in [0,1].
        labels: true classes [B].
        correct: whether clean images are classified correctly [B].
        point: what the attack found.
        protocol: of the attack.
    """
    stands = correct.clone()
    if correct.any():
        stored = to_eight_bits(point.images[correct], images[correct], point.epsilon)
        stands[correct] = model(stored).argmax(1) == labels[correct]
    return {column("robust_accuracy_8bit", protocol): percent(stands)}


def corruption_accuracy(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    random: SampleRandom,
    corruptions: Sequence[str],
    severities: Sequence[int],
) -> Iterator[tuple[str, dict[str, Any], Tensor]]:
    """Metric, protocol and values [B] in percent, of each corruption and severity, then of their mean.

    The mean corruption error (mCE) of Hendrycks and Dietterich 2019 divides the error of each corruption by
    AlexNet's on ImageNet-C, which means nothing on other data.

    Args:
        model: images in [0,1] to logits, in eval mode.
        images: clean images [B,3,H,W] in [0,1].
        labels: true classes [B].
        random: keyed random numbers of these images.
        corruptions: names, or ``"all"``; nothing is measured without.
        severities: 1 to 5.
    """
    names = families(corruptions)
    rules: dict[str, Any] = {"lengths": LENGTHS}
    found = []
    for name in names:
        corruption = CORRUPTIONS[name]
        for severity in severities:
            logits = model(corruption(images, severity, random))
            found.append(100.0 * (logits.argmax(1) == labels).float())
            yield (
                "corruption_accuracy",
                {"corruption": name, "severity": severity, **rules, **corruption.notes},
                found[-1],
            )
    if found:
        told = "all 15 of ImageNet-C" if names == IMAGENET_C else ", ".join(names)
        notes = {f"{name} {key}": note for name in names for key, note in CORRUPTIONS[name].notes.items()}
        over = {"corruptions": told, "severities": ", ".join(map(str, severities))}
        yield "mean_corruption_accuracy", {**over, **rules, **notes}, torch.stack(found).mean(0)


def check_corruptions(corruptions: Sequence[str], severities: Sequence[int]) -> None:
    """Refuse what cannot be measured, before anything is.

    Raises:
        UnknownNameError: a corruption that does not exist.
        ValueError: names that are no list, a severity that is not 1 to 5 or comes twice, or corruptions
            without severities.
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
