"""Similarity of two saliency maps."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.core.registry import Registry
from egat_hub.explanations.base import enlarge, max_


def pixel_ranks(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Rank of every pixel in its image, int64 [B,H,W]; 0 is the most salient.

    Maps [B,h,w] are resized bilinearly to ``size`` (H, W); ties are ranked in reading order. The top k pixels
    are those with ``ranks < k``.
    """
    pixels = enlarge(maps, size).flatten(1)
    order = pixels.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view(-1, *size)


def top_region(maps: Tensor, q: float, size: tuple[int, ...]) -> Tensor:
    """The ``round(q H W)`` most salient pixels of maps [B,h,w], as a boolean [B,H,W]; see above for ties."""
    return pixel_ranks(maps, size) < top_count(q, size)


def top_count(q: float, size: tuple[int, ...]) -> int:
    """Number of pixels in the fraction ``q`` of an image of ``size`` (H, W)."""
    height, width = size
    return round(q * height * width)


Agreement = Callable[[Tensor, Tensor, tuple[int, ...]], Tensor]
"""(signed maps [B,h,w], other maps [B,h,w], image size (H, W)) to an agreement [B]; 1 is full agreement.

It is symmetric, at most 1, finite for finite maps, and invariant to a positive scale of either map.
"""

STABILITY: Registry[Agreement] = Registry("stability_measures")

TOP_SHARE = 0.2
"""Share of pixels that :func:`topk_overlap` compares."""


@STABILITY.register("topk_overlap")
def topk_overlap(maps: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    """Fraction of the top 20 % pixels that both maps share (Ghorbani et al. 2019), in [0, 1]."""
    first, second = (top_region(m, TOP_SHARE, size).flatten(1) for m in (maps, other))
    return (first & second).sum(1) / first.sum(1)


@STABILITY.register("cosine")
def cosine(maps: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    """Cosine similarity of the positive parts of the maps, in [0, 1]."""
    first, second = (m.relu().flatten(1).float() for m in (maps, other))
    return F.cosine_similarity(first, second, dim=1)


@STABILITY.register("spearman")
def spearman(maps: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    """Rank correlation of signed values, in [-1, 1]; ties share their mean rank, a constant map gives 0."""
    first, second = (_centred_ranks(m.flatten(1)) for m in (maps, other))
    return F.cosine_similarity(first, second, dim=1)


@STABILITY.register("centre_of_mass")
def centre_of_mass(maps: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    """1 minus the distance of the positive parts' centres of mass, in image diagonals, in [0, 1]."""
    shift = _centre(maps, size) - _centre(other, size)
    return 1 - shift.norm(dim=1) / math.hypot(*size)


def _centred_ranks(values: Tensor) -> Tensor:
    """Ranks [B,N] minus their mean, divided by N; exactly zero if all values are equal."""
    ordered = values.sort(dim=1).values
    below, upto = (torch.searchsorted(ordered, values.contiguous(), right=right) for right in (False, True))
    return (below + upto - values.shape[1]) / (2 * values.shape[1])


def _centre(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Vertical and horizontal position [B,2] in pixels, relative to the middle of the image."""
    mass = maps.relu().float()
    mass = mass / mass.amax((1, 2), keepdim=True).clamp(min=torch.finfo(mass.dtype).tiny)
    total = mass.sum((1, 2)).clamp(min=1)  # the largest is 1, unless all are 0
    places = []
    for profile, side in zip((mass.sum(2), mass.sum(1)), size, strict=True):
        cells = torch.arange(profile.shape[1], device=maps.device, dtype=mass.dtype)
        middles = (cells + 0.5) / profile.shape[1] - 0.5
        places.append(side * (profile * middles).sum(1) / total)
    return torch.stack(places, dim=1)


WINDOW, SIGMA, C1, C2 = 11, 1.5, 0.01**2, 0.03**2
"""The standard constants of structural similarity, for values from 0 to 1."""


@STABILITY.register("ssim")
def ssim(maps: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    """Mean structural similarity of the positive parts, divided by their maximum, in [-1, 1].

    The window is a Gaussian of 11 x 11 pixels, sigma 1.5, at all positions within the resized maps.
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
    """Weights of every window along an axis of the image, [windows, side]; rows sum to 1."""
    length = min(WINDOW, side)
    offset = torch.arange(side) - torch.arange(side - length + 1)[:, None]
    weights = torch.exp(-(offset - (length - 1) / 2).square() / (2 * SIGMA**2))
    weights = weights * ((offset >= 0) & (offset < length))
    return weights / weights.sum(1, keepdim=True)
