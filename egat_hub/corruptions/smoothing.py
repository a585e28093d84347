"""Gaussian smoothing of any width, narrower than a pixel or wider than the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def smooth(images: Tensor, sigma: float, reach: float = 4.0) -> Tensor:
    """Images [...,H,W] smoothed by a Gaussian; beyond its edges an image is mirrored.

    Args:
        images: what is smoothed.
        sigma: standard deviation in pixels; 0 changes nothing.
        reach: where the Gaussian is cut off, in standard deviations.
    """
    rows, columns = (_matrix(side, sigma, reach).to(images) for side in images.shape[-2:])
    return rows @ images @ columns.T


def _matrix(side: int, sigma: float, reach: float) -> Tensor:
    """Weights [side,side] of the pixels (columns) in each smoothed pixel (rows)."""
    far = math.ceil(reach * sigma)
    offsets = torch.arange(-far, far + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / max(sigma, 1e-12)).square())
    mirrored = (torch.arange(side)[:, None] + offsets.long()) % (2 * side)
    mirrored = torch.where(mirrored < side, mirrored, 2 * side - 1 - mirrored)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    return matrix.scatter_add_(1, mirrored, (weights / weights.sum()).expand(side, -1))
