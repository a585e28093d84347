"""What is left of a perturbation in an image file."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = 255
ROUNDING = 1e-3
"""How far, in levels, a bound may lie from the level that it stands for: float32 of k/255 is not exact."""


def to_eight_bits(perturbed: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """The nearest images of 8 bits a channel that stay within ``epsilon`` of ``images``.

    Rounding alone may leave the ball. Where the ball holds no level at all (a budget of less than half a
    level around an image that is between two), the nearest level to the clean image stands.

    Args:
        perturbed: images [B,3,H,W] in [0,1] within the ball.
        images: clean images [B,3,H,W] in [0,1].
        epsilon: radius of the ball in pixel units.
    """
    lowest = ((images - epsilon) * LEVELS - ROUNDING).ceil()
    highest = ((images + epsilon) * LEVELS + ROUNDING).floor()
    levels = torch.minimum(torch.maximum((perturbed * LEVELS).round(), lowest), highest)
    levels = torch.where(lowest > highest, (images * LEVELS).round(), levels)
    return levels.clamp(0, LEVELS) / LEVELS
