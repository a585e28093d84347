"""Lengths: published for images of 224 pixels, scaled to any other size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

REFERENCE = 224
"""Side of the images that the published constants are made for."""
LENGTHS = f"x shorter side / {REFERENCE}"
"""The rule of :func:`scale`, as result rows note it."""


def scale(images: Tensor) -> float:
    """Pixels of ``images`` [...,H,W] to one pixel of a reference image, by the shorter side."""
    return min(images.shape[-2:]) / REFERENCE


def canvas(images: Tensor) -> Tensor:
    """An empty layer [B,1,h,w] in the proportions of ``images`` whose shorter side is that of the reference.

    What is drawn on it in published pixels and then fitted looks alike at any size.
    """
    height, width = (round(side / scale(images)) for side in images.shape[-2:])
    return images.new_empty(len(images), 1, height, width)


def fit(layer: Tensor, images: Tensor) -> Tensor:
    """A layer [B,C,h,w] at the size of ``images``."""
    size = tuple(images.shape[-2:])
    if layer.shape[-2:] == size:
        return layer
    return F.interpolate(layer, size, mode="bilinear", antialias=True)


def sample(images: Tensor, y: Tensor, x: Tensor, *, edge: str) -> Tensor:
    """Values of ``images`` [B,C,H,W] at positions ``y``, ``x``, between pixels bilinear.

    Args:
        images: what is sampled.
        y: rows, 0 at the centre of the first pixel; together with ``x`` they broadcast to [B,h,w].
        x: columns, likewise.
        edge: what lies outside: ``"border"`` or ``"reflection"``, as :func:`grid_sample` knows them.
    """
    height, width = images.shape[-2:]
    y, x, _ = torch.broadcast_tensors(y, x, images[:, 0, :1, :1])
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    return F.grid_sample(images, grid, padding_mode=edge, align_corners=True)


def positions(images: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [H,1] and columns [1,W] of the pixels of ``images``."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, dtype=torch.float32, device=images.device)
    columns = torch.arange(width, dtype=torch.float32, device=images.device)
    return rows[:, None], columns[None]
