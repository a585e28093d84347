"""Robust attribution regularisation by the norm of integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from egat_hub.methods.adversarial import AdversarialConfig, AdversarialMethod
from egat_hub.methods.base import METHODS, Batch
from egat_hub.methods.loss_path import LossPath
from egat_hub.modes import evaluating
from egat_hub.training_attacks import Slope
from egat_hub.training_attacks.ascent import Rows


@dataclass(frozen=True, kw_only=True)
class IGNConfig(AdversarialConfig):
    """Weight, path and attack, far smaller than the official ones (222 times the passes of ERM).

    Attributes:
        lambda_ign: weight of the norm (official code: 0.1 for flowers, 1 for traffic signs).
        points: points of the path in the loss (official code: 50).
        attack_points: points of the path in the attack (official code: 5).
        attack_steps: steps of the attack (official code: 7 to 40).
        step_size: step relative to epsilon.
        warmup: steps over which the weight grows linearly to its full size. An assumption: the norm of an
            untrained network's attributions is large.
        objective: ``"norm"`` for IG-NORM, ``"sum_norm"`` for IG-SUM-NORM.

    Raises:
        ValueError: a path without points, or an ``attack_dtype``: second derivatives are taken in float32.
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
                "The attack of IGN takes second derivatives, in float32. Leave out attack_dtype."
            )
        if self.points < 1 or self.attack_points < 1:
            raise ValueError(
                f"A path needs at least 1 point, got points={self.points}, "
                f"attack_points={self.attack_points}."
            )


@METHODS.register("ign")
class IGN(AdversarialMethod):
    """``CE(f(x), y) + lambda max_x' |IG(x, x')|_1`` (IG-NORM; Chen et al., NeurIPS 2019).

    IG are the integrated gradients of the loss from the image itself to x', which bound how much the loss can
    grow between them. ``objective="sum_norm"`` is IG-SUM-NORM, ``max_x' [CE(f(x'), y) + lambda |IG|_1]``.
    Attributions are those of the network in eval mode; x' is a constant in the outer step. The norm sums over
    pixels and channels and is averaged over images.
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
            with evaluating(self.backbone):
                path = LossPath(self.backbone, batch.images, batch.labels, c.points)
                terms["ign"] = weight * path.norm(attacked)
        return logits, terms

    @classmethod
    def gradient_units(cls, config: IGNConfig) -> float:
        points = config.attack_points
        return 2.0 * (2 * points - 1) + 4.0 * points + 2.0 * (config.objective == "sum_norm")

    def _attacked(self, batch: Batch, weight: float) -> Tensor:
        c = self.config

        def slope(perturbed: Tensor, rows: Rows) -> Slope:
            path = LossPath(self.backbone, batch.images[rows], batch.labels[rows], c.attack_points)
            if c.objective == "norm":
                return path.norm_slope(perturbed)
            along = path.slope(perturbed)
            if not weight:
                return along
            return Slope(along.gradient + weight * path.norm_slope(perturbed).gradient, along.logits)

        with torch.autocast(batch.images.device.type, enabled=False):  # second derivatives are of float32
            return self.maximise(batch, slope)
