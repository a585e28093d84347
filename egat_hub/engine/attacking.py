"""The figures of a batch that judge its predictions under attack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from egat_hub.attacks import CurvePoint, to_eight_bits
from egat_hub.attacks.checks import INNER_GRADIENT, PROBABILITIES, RANDOMNESS
from egat_hub.engine.columns import Columns, column, percent
from egat_hub.engine.honesty import LIMIT
from egat_hub.results import FLAG

OF_THE_MODEL = (RANDOMNESS, PROBABILITIES, INNER_GRADIENT)
"""Flags about the model as a whole, which luck does not raise."""


def accuracy(point: CurvePoint, protocol: Mapping[str, Any]) -> Columns:
    """Robust accuracy, the same after each part of the attack, and what the attack found suspicious."""
    columns = {column("aAcc", protocol): percent(point.correct)}
    for part, stands in point.stands.items():
        columns[column("aAccAfter", {**protocol, "after": part})] = percent(stands)
    for flag, raised in point.flags.items():
        limit = 0.0 if flag in OF_THE_MODEL else LIMIT
        columns[column(FLAG, {"flag": flag, "limit": limit, **protocol})] = 100 * raised
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
    return {column("aAcc8", protocol): percent(stands)}
