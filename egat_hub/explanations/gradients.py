"""Gradients with respect to pixels: plain, smoothed, and integrated."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from egat_hub.core.config import check_choices
from egat_hub.explanations.base import EXPLANATIONS, Explanation
from egat_hub.explanations.guides import on_grid
from egat_hub.models import TimmModel
from egat_hub.models.timm_model import View
from egat_hub.models.train_mode import frozen, twice_differentiable, without_dropout, without_recording


@dataclass(frozen=True, kw_only=True)
class PixelGradient(Explanation):
    """Maps at the resolution of the images, or on the grid of the network's features.

    Dropout is left out, and running statistics are not updated. The derivative of such a map with respect to
    the images is zero almost everywhere if all activations are ReLUs.

    Attributes:
        grid: average maps over the cells of the feature map, to compare them with guides and other maps.
    """

    second_order: ClassVar[bool] = True

    grid: bool = False

    def training(self) -> Any:
        return replace(self, grid=True)

    def gradient(self, model: TimmModel, images: Tensor, target: Tensor) -> Tensor:
        """Gradient [B,3,H,W] of ``sum_c target[b,c] * logits[b,c]``, itself differentiable."""
        trained = torch.is_grad_enabled()
        constant = nullcontext() if self.head_grad else frozen(model.classifier)
        twice = twice_differentiable(trained)
        with torch.enable_grad(), without_dropout(model), without_recording(model), constant, twice:
            if not images.requires_grad:
                images = images.detach().requires_grad_()
            score = (model(images) * target).sum()
            return torch.autograd.grad(score, images, create_graph=trained)[0]

    def placed(self, model: TimmModel, view: View, maps: Tensor) -> Tensor:
        """Maps [B,H,W] as they are, or on the grid [B,h,w] of the features of ``view``."""
        return on_grid(maps[:, None], model.grid(view.features)[:, 0]) if self.grid else maps


@EXPLANATIONS.register("input_gradient")
@dataclass(frozen=True, kw_only=True)
class InputGradient(PixelGradient):
    """Absolute gradient of the logit with respect to pixels, averaged over channels (Simonyan et al. 2014).

    Cost: one forward, one backward to the input; in training one double backward.
    """

    signed: ClassVar[bool] = False

    def raw(self, model: TimmModel, view: View, target: Tensor) -> Tensor:
        gradient = self.gradient(model, view.images, target)
        return self.placed(model, view, gradient.abs().mean(1))


@EXPLANATIONS.register("smooth_grad")
@dataclass(frozen=True, kw_only=True)
class SmoothGrad(PixelGradient):
    """Input gradients averaged over noisy copies, then absolute and over channels (Smilkov et al. 2017).

    The noise is the same for all images and calls, so a map depends on image and network alone.
    Cost per sample: one forward, one backward to the input; in training one double backward.

    Attributes:
        samples: number of noisy copies.
        noise: standard deviation of the noise in pixel units (0.1 to 0.2 in the paper).
        seed: seed of the noise.
    """

    signed: ClassVar[bool] = False

    samples: int = 50
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.noise < 0:
            raise ValueError(
                f"Expected at least 1 sample and a noise of at least 0, got {self.samples} and {self.noise}."
            )

    def training(self) -> Any:
        return replace(super().training(), samples=2)

    def raw(self, model: TimmModel, view: View, target: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        total = torch.zeros_like(view.images)
        for _ in range(self.samples):
            shape = view.images.shape[1:]
            noise = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(view.images)
            total = total + self.gradient(model, view.images + self.noise * noise, target)
        return self.placed(model, view, (total / self.samples).abs().mean(1))


@EXPLANATIONS.register("integrated_gradients")
@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(PixelGradient):
    """``(x - x') * integral of d f_c(x' + a (x - x')) / dx`` over a in [0, 1] (Sundararajan et al. 2017).

    Summed over channels, signed; with many points, the attributions of an image sum to ``f_c(x) - f_c(x')``.
    The integral is a Gauss-Legendre sum.
    Cost per point: one forward, one backward to the input; in training one double backward.

    Attributes:
        points: number of points on the path.
        baseline: start of the path: ``"mean"``, the mean colour, which is zero after normalization, or
            ``"black"``.
    """

    points: int = 50
    baseline: Literal["mean", "black"] = "mean"

    def __post_init__(self) -> None:
        check_choices(self)
        if self.points < 1:
            raise ValueError(f"Expected at least 1 point, got {self.points}.")

    def training(self) -> Any:
        return replace(super().training(), points=3)

    def raw(self, model: TimmModel, view: View, target: Tensor) -> Tensor:
        start = model.mean.to(view.images) if self.baseline == "mean" else torch.zeros_like(model.mean)
        delta = view.images - start
        total = torch.zeros_like(delta)
        for place, weight in zip(*np.polynomial.legendre.leggauss(self.points), strict=True):
            point = start + (1 + float(place)) / 2 * delta
            total = total + float(weight) / 2 * self.gradient(model, point, target)
        return self.placed(model, view, (delta * total).sum(1))
