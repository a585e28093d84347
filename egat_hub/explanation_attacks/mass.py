"""What is shown of a map, as a distribution over pixels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from egat_hub.explanations import NORMALIZATIONS


def mass(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Share [B,H,W] that every pixel has in the positive part of signed maps [B,h,w].

    Maps are enlarged bilinearly to ``size`` (H, W). A map without a positive part has no mass anywhere.
    """
    return NORMALIZATIONS["sum"](enlarged(maps, size).relu())


def enlarged(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps [B,h,w] bilinearly at ``size`` (H, W)."""
    height, width = size
    return F.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
