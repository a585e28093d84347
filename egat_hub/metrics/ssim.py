"""Structural similarity of two saliency maps (Wang et al. 2004)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.explanations.normalize import max_
from egat_hub.metrics.ranking import enlarged
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
    a, b = (max_(enlarged(m.relu(), size))[:, None] for m in (maps, other))
    mean_a, mean_b = _smooth(a), _smooth(b)
    variances = (_smooth(a * a) - mean_a.square()) + (_smooth(b * b) - mean_b.square())
    covariance = _smooth(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
    return (luminance * (2 * covariance + C2) / (variances + C2)).mean((1, 2, 3))


def _smooth(images: Tensor) -> Tensor:
    """Gaussian means over every window within the images [B,1,H,W]."""
    for axis in (2, 3):
        length = min(WINDOW, images.shape[axis])
        places = torch.arange(length, device=images.device) - (length - 1) / 2
        weights = torch.exp(-places.square() / (2 * SIGMA**2))
        shape = [1, 1, 1, 1]
        shape[axis] = length
        images = F.conv2d(images, (weights / weights.sum()).view(shape))
    return images
