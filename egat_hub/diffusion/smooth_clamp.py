"""Decoded values into [0, 1], with a slope that never jumps to zero."""

from __future__ import annotations

import torch
from torch import Tensor

MARGIN = 0.01


def smooth_clamp(values: Tensor) -> Tensor:
    """The identity on [0.01, 0.99], bent by a tanh beyond, so that all values are in [0, 1].

    Value and slope are continuous. A plain clamp has no gradient where a decoder overshoots, as it does in
    white and black regions.
    """
    low = MARGIN * (1 + torch.tanh((values - MARGIN) / MARGIN))
    high = 1 - MARGIN * (1 + torch.tanh((1 - values - MARGIN) / MARGIN))
    return torch.where(values < MARGIN, low, torch.where(values > 1 - MARGIN, high, values))
