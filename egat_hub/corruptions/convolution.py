"""Blur with the same kernel everywhere, by fast Fourier transform."""

from __future__ import annotations

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
