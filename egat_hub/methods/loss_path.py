"""Integrated gradients of the loss along the straight path from images to their perturbed versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.backbone import Backbone
from egat_hub.modes import twice_differentiable
from egat_hub.training_attacks import Slope


@dataclass(frozen=True)
class LossPath:
    """``IG = (x' - x) * (1/m) sum_j d CE(x + j/m (x' - x), y) / dx``, j = 1..m (arXiv 1905.09957).

    Second derivatives are taken one point of the path at a time, so that memory does not grow with m: a
    first pass finds the sign of IG, which the gradient of its L1 norm takes as a constant.

    Attributes:
        backbone: the network, in eval mode.
        images: start of the path [B,3,H,W] in [0,1].
        labels: classes [B].
        points: number of points m.
    """

    backbone: Backbone
    images: Tensor
    labels: Tensor
    points: int

    def attributions(self, perturbed: Tensor) -> Tensor:
        """Integrated gradients [B,3,H,W] of the path to ``perturbed``."""
        delta = (perturbed - self.images).detach()
        return delta * sum(self.slope(self._point(delta, j)).gradient for j in self._numbers()) / self.points

    def slope(self, point: Tensor) -> Slope:
        """Gradient [B,3,H,W] of the summed loss at a point [B,3,H,W], and the logits there."""
        return self._slope_at(point, create_graph=False)[1]

    def norm_slope(self, perturbed: Tensor) -> Slope:
        """Gradient [B,3,H,W] of the summed L1 norm of IG by ``perturbed``, and the logits there."""
        attributions, mean, logits, parts = self._parts(perturbed)
        total = attributions.sign() * mean
        for share, point, part in parts:
            total += share * torch.autograd.grad(part, point)[0]
        return Slope(total, logits)

    def norm(self, perturbed: Tensor) -> Tensor:
        """L1 norm of IG, averaged over images, as a function of the network's parameters."""
        if not torch.is_grad_enabled():
            return self.attributions(perturbed).abs().sum() / len(perturbed)
        parameters = [p for p in self.backbone.parameters() if p.requires_grad]
        gradients = [torch.zeros_like(p) for p in parameters]
        attributions, _, _, parts = self._parts(perturbed)
        for _, _, part in parts:
            found = torch.autograd.grad(part / len(perturbed), parameters, allow_unused=True)
            for gradient, more in zip(gradients, found, strict=True):
                if more is not None:
                    gradient += more
        return _WithGradients.apply(attributions.abs().sum() / len(perturbed), gradients, *parameters)

    def _parts(
        self, perturbed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Iterator[tuple[float, Tensor, Tensor]]]:
        """IG, the mean slope, logits at the end, and the parts of the norm.

        Of every point: its share j/m, itself, its part of the norm with a graph.

        The last point's graph serves both passes.
        """
        delta = (perturbed - self.images).detach()
        end, (end_slope, logits) = self._slope_at(perturbed, create_graph=True)
        others = self._numbers()[:-1]
        along = sum(self.slope(self._point(delta, j)).gradient for j in others)
        mean = (end_slope.detach() + along) / self.points
        weight = delta * (delta * mean).sign() / self.points

        def parts() -> Iterator[tuple[float, Tensor, Tensor]]:
            yield 1.0, end, _weighted_sum(weight, end_slope)
            for j in others:
                point, (slope, _) = self._slope_at(self._point(delta, j), create_graph=True)
                yield j / self.points, point, _weighted_sum(weight, slope)

        return delta * mean, mean, logits, parts()

    def _numbers(self) -> range:
        return range(1, self.points + 1)

    def _point(self, delta: Tensor, j: int) -> Tensor:
        return self.images + (j / self.points) * delta

    def _slope_at(self, point: Tensor, *, create_graph: bool) -> tuple[Tensor, Slope]:
        """A point as a leaf, gradient and logits there; in float32, which second derivatives need."""
        plain = torch.autocast(point.device.type, enabled=False)
        with torch.enable_grad(), plain, twice_differentiable(create_graph):
            point = point.detach().float().requires_grad_()
            logits = self.backbone(point)
            loss = F.cross_entropy(logits, self.labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, point, create_graph=create_graph)
            return point, Slope(gradient, logits.detach())


def _weighted_sum(weight: Tensor, slope: Tensor) -> Tensor:
    with torch.enable_grad():
        return (weight * slope).sum()


class _WithGradients(torch.autograd.Function):
    """A value whose gradients with respect to ``parameters`` are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        return None, None, *(slope * gradient for gradient in ctx.gradients)
