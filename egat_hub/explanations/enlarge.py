"""Saliency maps at the size of their images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def enlarge(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps [B,h,w] bilinearly at ``size`` (H, W), in float32 or float64; differentiable."""
    exact = maps if maps.element_size() >= 4 else maps.float()
    return F.interpolate(exact[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0]
