"""Filters and grids that corruptions share."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Edge = Literal["replicate", "circular"]
"""What lies outside of an image: its edge, on and on, or the image again."""


def convolve(images: Tensor, kernels: Tensor, edge: Edge = "replicate") -> Tensor:
    """Images [B,C,H,W] convolved with kernels [B,K,K] of their own or one [1,K,K]; K is odd.

    Cost: O(HW log HW), whatever K.
    """
    reach = kernels.shape[-1] // 2
    padded = F.pad(images, [reach] * 4, mode=edge)
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernels, s=size)[:, None]
    return torch.fft.irfft2(spectrum, s=size)[..., 2 * reach :, 2 * reach :]


def kernel_of(points: Tensor, weights: Tensor) -> Tensor:
    """Kernels [B,K,K] of sum 1 that spread weights [N] at points [B,N,2] (y, x) over the pixels around.

    A point shares its weight among its four pixels bilinearly, so that lengths need not be whole pixels:
    kernels grow steadily with their points, and from a single pixel.
    """
    reach = int(points.abs().max().ceil())
    grid = torch.arange(-reach, reach + 1, dtype=points.dtype, device=points.device)
    y, x = ((1 - (points[..., axis, None] - grid).abs()).clamp(min=0) for axis in (0, 1))
    return torch.einsum("n,bny,bnx->byx", weights / weights.sum(), y, x)


DENSITY = 4
"""Points of a line to a pixel."""


def streak(images: Tensor, angles: Tensor, radius: float, sigma: float, edge: Edge = "replicate") -> Tensor:
    """Images [B,C,H,W] that leave a fading trace to one side, as ImageMagick's motion blur does.

    Args:
        images: what is blurred.
        angles: direction of each image's trace in degrees [B], 0 to the right, -90 downwards.
        radius: half of the length at which the trace ends, in pixels.
        sigma: standard deviation of the one-sided Gaussian by which it fades, in pixels.
        edge: what lies outside of an image.
    """
    along = torch.linspace(0, 2 * radius, math.ceil(2 * radius * DENSITY) + 1, device=images.device)
    turned = angles.to(along)[:, None].deg2rad()
    points = torch.stack([-turned.sin() * along, turned.cos() * along], dim=-1)
    return convolve(images, kernel_of(points, torch.exp(-0.5 * (along / sigma).square())), edge)


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
