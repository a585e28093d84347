"""The momentum iterative fast gradient sign method."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from egat_hub.attacks.base import ATTACKS, project
from egat_hub.attacks.gradient import Gradient
from egat_hub.attacks.iterative import IterativeAttack
from egat_hub.randomness import SampleRandom


@ATTACKS.register("mi_fgsm")
@dataclass(frozen=True, kw_only=True)
class MIFGSM(IterativeAttack):
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

    momentum: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.momentum < 0:
            raise ValueError(f"Expected a momentum of at least 0, got {self.momentum}.")

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        length = epsilon * self.relative_step
        perturbed, direction = images, torch.zeros_like(images)
        for _ in range(self.steps):
            slope = gradient(perturbed)
            norm = slope.abs().sum((1, 2, 3), keepdim=True).clamp_min(1e-12)
            direction = self.momentum * direction + slope / norm
            perturbed = project(perturbed + length * direction.sign(), images, epsilon)
        return perturbed

    def default_step(self) -> float:
        return 1 / self.steps
