"""Projected gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from egat_hub.attacks.base import ATTACKS, project
from egat_hub.attacks.gradient import Gradient
from egat_hub.attacks.iterative import IterativeAttack
from egat_hub.config import check_choices
from egat_hub.randomness import SampleRandom


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
