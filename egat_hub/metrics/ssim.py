"""Structural similarity of two saliency maps (Wang et al. 2004)."""

from __future__ import annotations

import torch
from torch import Tensor

from egat_hub.explanations import enlarge
from egat_hub.explanations.normalize import max_
from egat_hub.metrics.stability import STABILITY

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
"""The usual constants, for values from 0 to 1."""


@STABILITY.register("ssim")
def ssim(maps: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    """Mean structural similarity of the positive parts, enlarged to the image and divided by their maximum.

    In [-1, 1]. The window is a Gaussian of 11 x 11 pixels, sigma 1.5, at all places where it lies within the
    image; a smaller image has a window of its own size.
    """
    a, b = (max_(enlarge(m.relu(), size)) for m in (maps, other))
    down, across = (_windows(side).to(a) for side in size)
    mean_a, mean_b, square_a, square_b, product = (
        down @ image @ across.T for image in (a, b, a * a, b * b, a * b)
    )
    variances = (square_a - mean_a.square()) + (square_b - mean_b.square())
    covariance = product - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
    return (luminance * (2 * covariance + C2) / (variances + C2)).mean((1, 2))


def _windows(side: int) -> Tensor:
    """Weights of every window along an axis of the image, a matrix [windows, side] of rows that sum to 1."""
    length = min(WINDOW, side)
    offset = torch.arange(side) - torch.arange(side - length + 1)[:, None]
    weights = torch.exp(-(offset - (length - 1) / 2).square() / (2 * SIGMA**2))
    weights = weights * ((offset >= 0) & (offset < length))
    return weights / weights.sum(1, keepdim=True)
