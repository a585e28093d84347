"""The momentum iterative fast gradient sign method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egat_hub.attacks.base import ATTACKS, Attack, Gradient, project
from egat_hub.randomness import SampleRandom


@ATTACKS.register("mi_fgsm")
@dataclass(frozen=True, kw_only=True)
class MIFGSM(Attack):
    """Steps along the sign of accumulated gradients, each divided by its L1 norm (Dong et al. 2018).

    Starts at the clean image. Norms are those of single images, so a batch changes nothing.
    Cost: ``steps`` forwards and backwards.

    Attributes:
        steps: number of steps T.
        momentum: share of the accumulated gradient that is kept.
        step_size: length of a step relative to epsilon; by default 1 / T.

    Raises:
        ValueError: less than one step, a negative momentum, or a step that is not positive.
    """

    steps: int = 10
    momentum: float = 1.0
    step_size: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"Expected at least 1 step, got {self.steps}.")
        if self.momentum < 0:
            raise ValueError(f"Expected a momentum of at least 0, got {self.momentum}.")
        if self.step_size is not None and self.step_size <= 0:
            raise ValueError(f"Expected a positive step_size, got {self.step_size}.")

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        length = epsilon * self._relative_step()
        perturbed, direction = images, torch.zeros_like(images)
        for _ in range(self.steps):
            slope = gradient(perturbed)
            norm = slope.abs().sum((1, 2, 3), keepdim=True).clamp_min(1e-12)
            direction = self.momentum * direction + slope / norm
            perturbed = project(perturbed + length * direction.sign(), images, epsilon)
        return perturbed

    def protocol(self) -> dict[str, Any]:
        return super().protocol() | {"step_size": self._relative_step()}

    def _relative_step(self) -> float:
        return 1 / self.steps if self.step_size is None else self.step_size
