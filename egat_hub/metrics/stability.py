"""Agreement of two saliency maps of the same image, before and after a change to it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.metrics.ranking import top_region
from egat_hub.registry import Registry

Agreement = Callable[[Tensor, Tensor, tuple[int, ...]], Tensor]
"""(signed maps [B,h,w], other maps [B,h,w], image size (H, W)) to an agreement [B]; 1 is full agreement.

It is symmetric, at most 1, finite for any finite maps, and blind to a positive factor of either map.
"""

STABILITY: Registry[Agreement] = Registry("stability_measures")

TOP_SHARE = 0.2


@STABILITY.register("topk_overlap")
def topk_overlap(maps: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    """Share of the top 20 % pixels that both maps have in common (Ghorbani et al. 2019), in [0, 1]."""
    first, second = (top_region(m, TOP_SHARE, size).flatten(1) for m in (maps, other))
    return (first & second).sum(1) / first.sum(1)


@STABILITY.register("cosine")
def cosine(maps: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    """Cosine of the angle between the positive parts of the maps as vectors, in [0, 1]."""
    first, second = (m.relu().flatten(1).float() for m in (maps, other))
    return F.cosine_similarity(first, second, dim=1)


@STABILITY.register("spearman")
def spearman(maps: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    """Correlation of the ranks of the positions of the grid, in [-1, 1]; 0 where a map is constant.

    Ranks are those of the signed values; equals share the mean of their ranks.
    """
    first, second = (_centred_ranks(m.flatten(1)) for m in (maps, other))
    return F.cosine_similarity(first, second, dim=1)


@STABILITY.register("centre_of_mass")
def centre_of_mass(maps: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    """1 minus the shift of the centre of mass in units of the image's diagonal, in [0, 1].

    Masses are the positive parts; a map without any has its centre in the middle of the image.
    """
    shift = _centre(maps, size) - _centre(other, size)
    return 1 - shift.norm(dim=1) / math.hypot(*size)


def _centred_ranks(values: Tensor) -> Tensor:
    """Ranks [B,N] minus their mean, over N; exactly zero where all values are equal."""
    ordered = values.sort(dim=1).values
    below, upto = (torch.searchsorted(ordered, values.contiguous(), right=right) for right in (False, True))
    return (below + upto - values.shape[1]) / (2 * values.shape[1])


def _centre(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Vertical and horizontal place [B,2] in pixels of the image, from its middle."""
    mass = maps.relu().float()
    mass = mass / mass.amax((1, 2), keepdim=True).clamp(min=torch.finfo(mass.dtype).tiny)
    total = mass.sum((1, 2)).clamp(min=1)  # the largest is 1, unless all are 0
    places = []
    for profile, side in zip((mass.sum(2), mass.sum(1)), size, strict=True):
        middles = (torch.arange(profile.shape[1], device=maps.device) + 0.5) / profile.shape[1] - 0.5
        places.append(side * (profile * middles).sum(1) / total)
    return torch.stack(places, dim=1)
