"""Blur along a line."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from egat_hub.corruptions.convolution import Edge, convolve, kernel_of

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
