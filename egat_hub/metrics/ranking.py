"""Pixels in the order in which a saliency map ranks them."""

from __future__ import annotations

import torch
from torch import Tensor

from egat_hub.explanations import enlarge


def pixel_ranks(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Place of every pixel among those of its image, int64 [B,H,W]; 0 is the most salient.

    Maps [B,h,w] are enlarged bilinearly to ``size`` (H, W); equals are ranked in reading order. One sort a
    map serves regions of any size: the top k pixels are those with ``ranks < k``.
    """
    pixels = enlarge(maps, size).flatten(1)
    order = pixels.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view(-1, *size)


def top_region(maps: Tensor, q: float, size: tuple[int, ...]) -> Tensor:
    """The share ``q`` of pixels that matter most, as a boolean [B,H,W].

    Maps [B,h,w] are enlarged bilinearly to ``size`` (H, W). Exactly ``round(q H W)`` pixels are chosen;
    among equals, those that come first in reading order.
    """
    return pixel_ranks(maps, size) < top_count(q, size)


def top_count(q: float, size: tuple[int, ...]) -> int:
    """Number of pixels in the share ``q`` of an image of ``size`` (H, W)."""
    height, width = size
    return round(q * height * width)
