"""SmoothGrad."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from egat_hub.backbone import Backbone, View
from egat_hub.explanations.base import EXPLANATIONS
from egat_hub.explanations.pixel_gradient import PixelGradient


@EXPLANATIONS.register("smooth_grad")
@dataclass(frozen=True, kw_only=True)
class SmoothGrad(PixelGradient):
    """Input gradients averaged over noisy copies, then absolute and over channels (Smilkov et al. 2017).

    The noise is the same for every image and every call, so a map depends on nothing but image and network.
    Cost: as many forwards and backwards to the input as samples; in training as many double backwards.

    Attributes:
        samples: number of noisy copies.
        noise: standard deviation of the noise in pixel units (0.1 to 0.2 in the paper).
        seed: seed of the noise.

    Raises:
        ValueError: no sample, or a negative noise.
    """

    signed: ClassVar[bool] = False

    samples: int = 50
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"Expected at least 1 sample, got {self.samples}.")
        if self.noise < 0:
            raise ValueError(f"Expected a noise of at least 0, got {self.noise}.")

    def training(self) -> Any:
        return replace(super().training(), samples=2)

    def raw(self, backbone: Backbone, view: View, target: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        total = torch.zeros_like(view.images)
        for _ in range(self.samples):
            noise = torch.randn(view.images.shape[1:], generator=generator).to(view.images)
            total = total + self.slope(backbone, view.images + self.noise * noise, target)
        return self.placed(backbone, view, (total / self.samples).abs().mean(1))
