"""A layer that turns gradients round (Ganin and Lempitsky, ICML 2015)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def reverse_gradient(values: Tensor, strength: float) -> Tensor:
    """``values`` unchanged; their gradient is multiplied by ``-strength``."""
    return _Reverse.apply(values, strength)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None
