"""Accuracy under common corruptions, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from egat_hub.corruptions import CORRUPTIONS, IMAGENET_C, LENGTHS, check_severity, families
from egat_hub.randomness import SampleRandom


def corruption_accuracy(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    random: SampleRandom,
    corruptions: Sequence[str],
    severities: Sequence[int],
) -> Iterator[tuple[str, dict[str, Any], Tensor]]:
    """Metric, protocol and values [B] in percent: ``corrAcc`` of each corruption and severity, then ``mCA``.

    ``mCA`` is the mean corruption accuracy, over corruptions and severities alike. The mean corruption error
    (mCE) of Hendrycks and Dietterich 2019 divides the error of each corruption by AlexNet's on ImageNet-C,
    which means nothing on other data.

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
                "corrAcc",
                {"corruption": name, "severity": severity, **rules, **corruption.notes},
                found[-1],
            )
    if found:
        told = "all 15 of ImageNet-C" if names == IMAGENET_C else ", ".join(names)
        notes = {f"{name} {key}": note for name in names for key, note in CORRUPTIONS[name].notes.items()}
        over = {"corruptions": told, "severities": ", ".join(map(str, severities))}
        yield "mCA", {**over, **rules, **notes}, torch.stack(found).mean(0)


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
