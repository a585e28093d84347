"""Per-image normalisation of saliency maps, safe on constant maps."""

from __future__ import annotations

import torch
from torch import Tensor

from egat_hub.registry import Registry

NORMALIZATIONS: Registry = Registry("normalizations")

EPSILON = 1e-6
"""Smallest range (or maximum, or sum) of a map that counts as alive."""


def dead(maps: Tensor) -> Tensor:
    """Which maps [B,h,w] are constant and therefore say nothing, as a boolean [B]."""
    return maps.amax((1, 2)) - maps.amin((1, 2)) <= EPSILON


@NORMALIZATIONS.register("minmax")
def minmax(maps: Tensor) -> Tensor:
    """(s - min) / (max - min), in [0, 1]; a constant map becomes zero and passes no gradient."""
    low = maps.amin((1, 2), keepdim=True)
    return _divide(maps - low, maps.amax((1, 2), keepdim=True) - low)


@NORMALIZATIONS.register("max")
def max_(maps: Tensor) -> Tensor:
    """s / max |s|, in [-1, 1]; a zero map stays zero."""
    return _divide(maps, maps.abs().amax((1, 2), keepdim=True))


@NORMALIZATIONS.register("sum")
def sum_(maps: Tensor) -> Tensor:
    """s / sum |s|: the map as a distribution of importance; a zero map stays zero."""
    return _divide(maps, maps.abs().sum((1, 2), keepdim=True))


@NORMALIZATIONS.register("none")
def none(maps: Tensor) -> Tensor:
    """The map as it is, in units of the logit."""
    return maps


def _divide(maps: Tensor, scale: Tensor) -> Tensor:
    alive = scale > EPSILON
    return torch.where(alive, maps / torch.where(alive, scale, 1.0), 0.0)
