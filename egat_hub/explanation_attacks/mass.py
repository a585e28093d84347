"""What is shown of a map, as a distribution over pixels."""

from __future__ import annotations

from torch import Tensor

from egat_hub.explanations import NORMALIZATIONS, enlarge


def mass(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Share [B,H,W] that every pixel has in the positive part of signed maps [B,h,w].

    Maps are enlarged bilinearly to ``size`` (H, W). A map without a positive part has no mass anywhere.
    """
    return NORMALIZATIONS["sum"](enlarge(maps, size).relu())
