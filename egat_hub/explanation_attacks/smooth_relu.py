"""Softplus in place of ReLU, where second derivatives are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class SmoothReLU(TorchFunctionMode):
    """Inside, ReLU and its piecewise linear kin are made of softplus; no module is touched.

    ``max(x, 0)`` becomes ``log(1 + exp(sharpness x)) / sharpness`` (Dombrowski et al. 2019), which is at most
    ``log(2) / sharpness`` above it and has second derivatives where ReLU has none. ReLU6 and hard tanh are
    differences of two of them, leaky ReLU a mixture with x. In-place calls by function (``torch.relu_``) and
    max pooling stay what they are.

    Args:
        sharpness: how closely ReLU is followed.
    """

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.smooth: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
            F.relu: self._relu,
            torch.relu: self._relu,
            Tensor.relu: self._relu,
            F.leaky_relu: self._leaky_relu,
            F.hardtanh: self._hardtanh,
            F.relu6: lambda x, inplace=False: self._hardtanh(x, 0.0, 6.0),
        }

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.smooth.get(func, func)(*args, **(kwargs or {}))

    def _relu(self, x: Tensor, inplace: bool = False) -> Tensor:
        return F.softplus(x, self.sharpness)

    def _leaky_relu(self, x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
        return negative_slope * x + (1 - negative_slope) * self._relu(x)

    def _hardtanh(
        self, x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
    ) -> Tensor:
        return min_val + self._relu(x - min_val) - self._relu(x - max_val)
