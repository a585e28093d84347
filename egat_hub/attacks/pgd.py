"""FGSM, PGD and MI-FGSM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from egat_hub.attacks.base import ATTACKS, Gradient, GradientAttack, IterativeAttack, project
from egat_hub.core.config import check_choices
from egat_hub.core.randomness import SampleRandom


@ATTACKS.register("fgsm")
@dataclass(frozen=True, kw_only=True)
class FGSM(GradientAttack):
    """``x + epsilon sign(gradient)``, one step from the clean image (Goodfellow et al. 2014).

    Cost: one forward, one backward.
    """

    @property
    def passes(self) -> int:
        return 2

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        return images + epsilon * gradient(images).sign()


@ATTACKS.register("pgd")
@dataclass(frozen=True, kw_only=True)
class PGD(IterativeAttack):
    """Sign-gradient steps, projected on the ball (Madry et al. 2018). Cost: ``steps`` forwards and backwards.

    Attributes:
        steps: number of steps T.
        step_size: length of a step relative to epsilon; by default 2.5 / T.
        start: where in the ball to begin: ``"uniform"`` (Madry), ``"normal"`` (0.001 N(0,1), TRADES) or
            ``"clean"``.

    Raises:
        ValueError: less than one step, a step that is not positive, or an unknown start.
    """

    start: Literal["uniform", "normal", "clean"] = "uniform"

    def __post_init__(self) -> None:
        check_choices(self)
        super().__post_init__()

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        return self.climb(gradient, self.begin(images, epsilon, random), images, epsilon)

    def default_step(self) -> float:
        return 2.5 / self.steps

    def climb(self, gradient: Gradient, perturbed: Tensor, images: Tensor, epsilon: float) -> Tensor:
        """All steps, from ``perturbed`` within the ball around ``images``, each [B,3,H,W]."""
        length = epsilon * self.relative_step
        for _ in range(self.steps):
            perturbed = project(perturbed + length * gradient(perturbed).sign(), images, epsilon)
        return perturbed

    def begin(self, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        """Where the first step starts [B,3,H,W]."""
        if self.start == "clean":
            return images
        if self.start == "normal":
            noise = 1e-3 * random.normal(images, "attack")
        else:
            noise = random.uniform(images, -epsilon, epsilon, "attack")
        return project(images + noise, images, epsilon)


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
