"""Filters and grids shared by corruptions."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Edge = Literal["replicate", "circular"]
"""Padding of images, as in :func:`torch.nn.functional.pad`."""


def convolve(images: Tensor, kernels: Tensor, edge: Edge = "replicate") -> Tensor:
    """Convolve images [B,C,H,W] with kernels [B,K,K], or one kernel [1,K,K]; K is odd.

    Cost: O(HW log HW), independent of K.
    """
    reach = kernels.shape[-1] // 2
    padded = F.pad(images, [reach] * 4, mode=edge)
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernels, s=size)[:, None]
    return torch.fft.irfft2(spectrum, s=size)[..., 2 * reach :, 2 * reach :]


def kernel_of(points: Tensor, weights: Tensor) -> Tensor:
    """Kernels [B,K,K] of sum 1 from weights [N] at points [B,N,2] (y, x).

    Weights are distributed bilinearly over the four nearest pixels, so kernels vary continuously with the
    points.
    """
    reach = int(points.abs().max().ceil())
    grid = torch.arange(-reach, reach + 1, dtype=points.dtype, device=points.device)
    y, x = ((1 - (points[..., axis, None] - grid).abs()).clamp(min=0) for axis in (0, 1))
    return torch.einsum("n,bny,bnx->byx", weights / weights.sum(), y, x)


DENSITY = 4
"""Points of a line per pixel."""


def streak(images: Tensor, angles: Tensor, radius: float, sigma: float, edge: Edge = "replicate") -> Tensor:
    """One-sided motion blur of images [B,C,H,W], as in ImageMagick.

    Args:
        images: images to blur.
        angles: direction of the blur in degrees [B]; 0 is right, -90 is down.
        radius: half of the length of the kernel, in pixels.
        sigma: standard deviation of the one-sided Gaussian, in pixels.
        edge: padding mode.
    """
    along = torch.linspace(0, 2 * radius, math.ceil(2 * radius * DENSITY) + 1, device=images.device)
    turned = angles.to(along)[:, None].deg2rad()
    points = torch.stack([-turned.sin() * along, turned.cos() * along], dim=-1)
    return convolve(images, kernel_of(points, torch.exp(-0.5 * (along / sigma).square())), edge)


def smooth(images: Tensor, sigma: float, reach: float = 4.0) -> Tensor:
    """Gaussian blur of images [...,H,W] with mirrored edges.

    Args:
        images: images to blur.
        sigma: standard deviation in pixels; 0 changes nothing.
        reach: truncation of the Gaussian, in standard deviations.
    """
    rows, columns = (_matrix(side, sigma, reach).to(images) for side in images.shape[-2:])
    return rows @ images @ columns.T


def _matrix(side: int, sigma: float, reach: float) -> Tensor:
    """Weights [side,side] of input pixels (columns) in each output pixel (rows)."""
    far = math.ceil(reach * sigma)
    offsets = torch.arange(-far, far + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / max(sigma, 1e-12)).square())
    mirrored = (torch.arange(side)[:, None] + offsets.long()) % (2 * side)
    mirrored = torch.where(mirrored < side, mirrored, 2 * side - 1 - mirrored)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    return matrix.scatter_add_(1, mirrored, (weights / weights.sum()).expand(side, -1))


REFERENCE = 224
"""Image size that the published constants are made for."""
LENGTHS = f"x shorter side / {REFERENCE}"
"""The rule of :func:`scale`, for the protocol of result rows."""


def scale(images: Tensor) -> float:
    """Ratio of the shorter side of ``images`` [...,H,W] to that of the reference."""
    return min(images.shape[-2:]) / REFERENCE


def canvas(images: Tensor) -> Tensor:
    """An uninitialized layer [B,1,h,w] at reference size, with the aspect ratio of ``images``.

    Drawing on it and resizing with :func:`fit` gives the same look at any image size.
    """
    height, width = (round(side / scale(images)) for side in images.shape[-2:])
    return images.new_empty(len(images), 1, height, width)


def fit(layer: Tensor, images: Tensor) -> Tensor:
    """Resize a layer [B,C,h,w] to the size of ``images``."""
    size = tuple(images.shape[-2:])
    if layer.shape[-2:] == size:
        return layer
    return F.interpolate(layer, size, mode="bilinear", antialias=True)


def sample(images: Tensor, y: Tensor, x: Tensor, *, edge: str) -> Tensor:
    """Sample ``images`` [B,C,H,W] at positions ``y``, ``x``, bilinearly.

    Args:
        images: images to sample.
        y: rows, 0 is the centre of the first pixel; broadcasts with ``x`` to [B,h,w].
        x: columns.
        edge: padding mode of :func:`torch.nn.functional.grid_sample`.
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
