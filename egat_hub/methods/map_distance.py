"""Distances between saliency maps, and between a map and its guide."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from egat_hub.registry import Registry

MapDistance = Callable[[Tensor, Tensor], Tensor]
"""(maps [B,h,w], reference [B,h,w]) to one number: the mean over images and positions."""

MAP_DISTANCES: Registry[MapDistance] = Registry("map_distances")

MARGIN = 0.05
"""Maps are kept this far from 0 and 1 inside the logarithms of :func:`bce`, which bounds its slope by 20."""


@MAP_DISTANCES.register("l1")
def l1(maps: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (maps - reference).abs().mean()


@MAP_DISTANCES.register("l2")
def l2(maps: Tensor, reference: Tensor) -> Tensor:
    """Mean squared difference."""
    return (maps - reference).square().mean()


@MAP_DISTANCES.register("bce")
def bce(maps: Tensor, reference: Tensor) -> Tensor:
    """Binary cross-entropy of maps in [0,1] against a reference in [0,1].

    A map stretched to [0,1] holds exact zeros and ones, where the slope of the logarithm has no float32
    value, and after a ReLU many cells near zero, whose slopes would drown every other term of a loss. Maps
    are therefore clamped to [0.05, 0.95]; what is clamped passes no gradient.
    """
    inner = maps.clamp(MARGIN, 1 - MARGIN)
    return -(reference * inner.log() + (1 - reference) * (1 - inner).log()).mean()
