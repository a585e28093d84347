"""Integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from egat_hub.backbone import Backbone, View
from egat_hub.config import check_choices
from egat_hub.explanations.base import EXPLANATIONS
from egat_hub.explanations.pixel_gradient import PixelGradient


@EXPLANATIONS.register("integrated_gradients")
@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(PixelGradient):
    """``(x - x') * integral of d f_c(x' + a (x - x')) / dx`` over a in [0, 1] (Sundararajan et al. 2017).

    Summed over channels, with sign; the attributions of an image sum to ``f_c(x) - f_c(x')`` as the number of
    points grows. The integral is a Gauss-Legendre sum.
    Cost: as many forwards and backwards to the input as points; in training as many double backwards.

    Attributes:
        points: points on the path.
        baseline: where the path starts: ``"mean"``, the network's mean colour, which is zero to it, or
            ``"black"``.

    Raises:
        ValueError: no point, or an unknown baseline.
    """

    points: int = 50
    baseline: Literal["mean", "black"] = "mean"

    def __post_init__(self) -> None:
        check_choices(self)
        if self.points < 1:
            raise ValueError(f"Expected at least 1 point, got {self.points}.")

    def training(self) -> Any:
        return replace(super().training(), points=3)

    def raw(self, backbone: Backbone, view: View, target: Tensor) -> Tensor:
        start = backbone.mean.to(view.images) if self.baseline == "mean" else torch.zeros_like(backbone.mean)
        delta = view.images - start
        total = torch.zeros_like(delta)
        for place, weight in zip(*np.polynomial.legendre.leggauss(self.points), strict=True):
            point = start + (1 + float(place)) / 2 * delta
            total = total + float(weight) / 2 * self.slope(backbone, point, target)
        return self.placed(backbone, view, (delta * total).sum(1))
