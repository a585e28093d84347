"""Projected gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from egat_hub.attacks.base import ATTACKS, Attack, Gradient, project
from egat_hub.config import check_choices
from egat_hub.randomness import SampleRandom


@ATTACKS.register("pgd")
@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Sign-gradient steps, projected on the ball (Madry et al. 2018). Cost: ``steps`` forwards and backwards.

    Attributes:
        steps: number of steps T.
        step_size: length of a step relative to epsilon; by default 2.5 / T.
        start: where in the ball to begin: ``"uniform"`` (Madry), ``"normal"`` (0.001 N(0,1), TRADES) or
            ``"clean"``.

    Raises:
        ValueError: less than one step, a step that is not positive, or an unknown start.
    """

    steps: int = 10
    step_size: float | None = None
    start: Literal["uniform", "normal", "clean"] = "uniform"

    def __post_init__(self) -> None:
        check_choices(self)
        if self.steps < 1:
            raise ValueError(f"Expected at least 1 step, got {self.steps}.")
        if self.step_size is not None and self.step_size <= 0:
            raise ValueError(f"Expected a positive step_size, got {self.step_size}.")

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        length = epsilon * self._relative_step()
        perturbed = self._start(images, epsilon, random)
        for _ in range(self.steps):
            perturbed = project(perturbed + length * gradient(perturbed).sign(), images, epsilon)
        return perturbed

    def protocol(self) -> dict[str, Any]:
        return super().protocol() | {"step_size": self._relative_step()}

    def _relative_step(self) -> float:
        return 2.5 / self.steps if self.step_size is None else self.step_size

    def _start(self, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        if self.start == "clean":
            return images
        if self.start == "normal":
            noise = 1e-3 * random.normal(images, "attack")
        else:
            noise = random.uniform(images, -epsilon, epsilon, "attack")
        return project(images + noise, images, epsilon)
