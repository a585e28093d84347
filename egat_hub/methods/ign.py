"""IGN: robust attribution regularization by the norm of integrated gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.attacks.base import ALL, Objective, Rows
from egat_hub.methods.adversarial import AdversarialConfig, AdversarialMethod
from egat_hub.methods.base import METHODS, Batch
from egat_hub.models import TimmModel
from egat_hub.models.train_mode import evaluating, twice_differentiable


@dataclass(frozen=True)
class LossPath:
    """``IG = (x' - x) * (1/m) sum_j d CE(x + j/m (x' - x), y) / dx``, j = 1..m (arXiv 1905.09957).

    Second derivatives are taken one point at a time, so memory does not grow with m: a first pass computes
    the sign of IG, which is a constant in the gradient of its L1 norm.

    Attributes:
        model: the network, in eval mode.
        images: start of the path [B,3,H,W] in [0,1].
        labels: classes [B].
        points: number of points m.
    """

    model: TimmModel
    images: Tensor
    labels: Tensor
    points: int

    def attributions(self, perturbed: Tensor) -> Tensor:
        """Integrated gradients [B,3,H,W] along the path to ``perturbed``."""
        delta = (perturbed - self.images).detach()
        return (
            delta * sum(self.loss_gradient(self._point(delta, j))[0] for j in self._numbers()) / self.points
        )

    def loss_gradient(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient [B,3,H,W] of the summed loss at a point [B,3,H,W], and the logits there."""
        return self._gradient_at(point, create_graph=False)[1:]

    def norm_gradient(self, perturbed: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient [B,3,H,W] of the summed L1 norm of IG by ``perturbed``, and the logits there."""
        attributions, mean, logits, parts = self._parts(perturbed)
        total = attributions.sign() * mean
        for share, point, part in parts:
            total += share * torch.autograd.grad(part, point)[0]
        return total, logits

    def norm(self, perturbed: Tensor) -> Tensor:
        """L1 norm of IG, averaged over images, as a function of the network's parameters."""
        if not torch.is_grad_enabled():
            return self.attributions(perturbed).abs().sum() / len(perturbed)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
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
        """IG, the mean gradient, logits at the end, and for each point: j/m, itself, its part of the norm.

        The graph of the last point is used by both passes.
        """
        delta = (perturbed - self.images).detach()
        end, at_end, logits = self._gradient_at(perturbed, create_graph=True)
        others = self._numbers()[:-1]
        along = sum(self.loss_gradient(self._point(delta, j))[0] for j in others)
        mean = (at_end.detach() + along) / self.points
        weight = delta * (delta * mean).sign() / self.points

        def parts() -> Iterator[tuple[float, Tensor, Tensor]]:
            yield 1.0, end, _weighted_sum(weight, at_end)
            for j in others:
                point, gradient, _ = self._gradient_at(self._point(delta, j), create_graph=True)
                yield j / self.points, point, _weighted_sum(weight, gradient)

        return delta * mean, mean, logits, parts()

    def _numbers(self) -> range:
        return range(1, self.points + 1)

    def _point(self, delta: Tensor, j: int) -> Tensor:
        return self.images + (j / self.points) * delta

    def _gradient_at(self, point: Tensor, *, create_graph: bool) -> tuple[Tensor, Tensor, Tensor]:
        """A point as a leaf, gradient and logits there; in float32, which second derivatives need."""
        plain = torch.autocast(point.device.type, enabled=False)
        with torch.enable_grad(), plain, twice_differentiable(create_graph):
            point = point.detach().float().requires_grad_()
            logits = self.model(point)
            loss = F.cross_entropy(logits, self.labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, point, create_graph=create_graph)
            return point, gradient, logits.detach()


def _weighted_sum(weight: Tensor, gradient: Tensor) -> Tensor:
    with torch.enable_grad():
        return (weight * gradient).sum()


class _WithGradients(torch.autograd.Function):
    """A value whose gradients with respect to ``parameters`` are already known."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return None, None, *(grad_output * gradient for gradient in ctx.gradients)


@dataclass(frozen=True, kw_only=True)
class IGNConfig(AdversarialConfig):
    """Options of IGN; defaults are cheaper than the official ones, which cost 222 times ERM.

    Attributes:
        lambda_ign: weight of the norm (official code: 0.1 for flowers, 1 for traffic signs).
        points: points of the path in the loss (official code: 50).
        attack_points: points of the path in the attack (official code: 5).
        attack_steps: steps of the attack (official code: 7 to 40).
        step_size: step relative to epsilon.
        warmup: steps over which the weight grows linearly to its full size. Assumed, because the norm of
            an untrained network's attributions is large.
        objective: ``"norm"`` for IG-NORM, ``"sum_norm"`` for IG-SUM-NORM.
    """

    lambda_ign: float = 0.1
    points: int = 10
    attack_points: int = 2
    attack_steps: int = 3
    step_size: float | None = 0.5
    warmup: int = 500
    objective: Literal["norm", "sum_norm"] = "norm"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attack_dtype is not None:
            raise ValueError(
                "The attack of IGN takes second derivatives, which need float32. Leave out attack_dtype."
            )
        if min(self.points, self.attack_points) < 1:
            raise ValueError(f"Expected at least 1 point, got {self.points} and {self.attack_points}.")


class PathObjective(Objective):
    """The objective of IGN's attack: the norm of IG, or the loss plus ``weight`` times the norm."""

    def __init__(self, model: TimmModel, batch: Batch, config: IGNConfig, weight: float) -> None:
        super().__init__(model, batch.labels)
        self.network, self.images, self.config, self.weight = model, batch.images, config, weight

    def gradient(self, images: Tensor, rows: Rows = ALL) -> Tensor:
        c = self.config
        path = LossPath(self.network, self.images[rows], self.labels[rows], c.attack_points)
        if c.objective == "norm":
            return self.record(*path.norm_gradient(images))
        gradient, logits = path.loss_gradient(images)
        if self.weight:
            gradient = gradient + self.weight * path.norm_gradient(images)[0]
        return self.record(gradient, logits)


@METHODS.register("ign")
class IGN(AdversarialMethod):
    """``CE(f(x), y) + lambda max_x' |IG(x, x')|_1`` (IG-NORM; Chen et al., NeurIPS 2019).

    IG are the integrated gradients of the loss from x to x', in eval mode. ``objective="sum_norm"`` is
    IG-SUM-NORM, ``max_x' [CE(f(x'), y) + lambda |IG|_1]``. The norm is a mean over images.
    Cost for T attack steps on m' points and a loss of m: ``T ((2m' - 1)(F + I) + m' D)`` in the attack,
    ``(2m - 1)(F + I) + m D`` in the loss, and a forward and a backward.
    """

    config_class = IGNConfig
    config: IGNConfig

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        c = self.config
        summed = c.objective == "sum_norm"
        if c.lambda_ign == 0 and not summed:
            return self.plain(batch)
        weight = c.lambda_ign * min(1.0, (batch.step + 1) / max(1, c.warmup))
        attacked = self._attacked(batch, weight)
        logits, terms = self.plain(replace(batch, images=attacked) if summed else batch)
        if weight:
            with evaluating(self.model):
                path = LossPath(self.model, batch.images, batch.labels, c.points)
                terms["ign"] = weight * path.norm(attacked)
        return logits, terms

    @classmethod
    def gradient_units(cls, config: IGNConfig) -> float:
        points = config.attack_points
        return 2.0 * (2 * points - 1) + 4.0 * points + 2.0 * (config.objective == "sum_norm")

    def _attacked(self, batch: Batch, weight: float) -> Tensor:
        with torch.autocast(batch.images.device.type, enabled=False):  # second derivatives need float32
            return self.perturb(batch, PathObjective(self.model, batch, self.config, weight))
