"""FGSM, PGD and MI-FGSM."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from egat_hub.attacks.base import ATTACKS, TRAINING_ATTACKS, Attack, Objective, project
from egat_hub.core.config import check_choices
from egat_hub.core.randomness import SampleRandom


@ATTACKS.register("fgsm")
@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """``x + epsilon sign(gradient)``, one step from the clean image (Goodfellow et al. 2014).

    Cost: one forward, one backward.
    """

    @property
    def passes(self) -> int:
        return 2

    def perturb(self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        return images + epsilon * objective.gradient(images).sign()


MINIMAL_REACH = 0.2
"""Steps that together cover less of epsilon than this are probably meant in pixel units."""


@dataclass(frozen=True, kw_only=True)
class IterativeAttack(Attack):
    """A number of steps of one length, which is relative to epsilon.

    Attributes:
        steps: number of steps T.
        step_size: length of a step relative to epsilon; by default that of the attack.
    """

    travel: ClassVar[float] = 1.0
    """Length of all steps together, relative to epsilon, by default."""

    steps: int = 10
    step_size: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"Expected at least 1 step, got {self.steps}.")
        if self.step_size is not None and self.step_size <= 0:
            raise ValueError(f"Expected a positive step_size, got {self.step_size}.")
        covered = self.steps * self.relative_step
        if covered < MINIMAL_REACH:
            warnings.warn(
                f"{self.steps} steps of step_size {self.relative_step:g} reach {covered:.0%} of epsilon. It "
                "counts in epsilons: an absolute step, alpha in torchattacks, is step_size x epsilon.",
                stacklevel=3,
            )

    def protocol(self) -> dict[str, Any]:
        return super().protocol() | {"step_size": self.relative_step}

    @property
    def passes(self) -> int:
        return 2 * self.steps

    @property
    def relative_step(self) -> float:
        """Length of a step relative to epsilon."""
        return self.travel / self.steps if self.step_size is None else self.step_size


@ATTACKS.register("pgd")
@TRAINING_ATTACKS.register("pgd")
@dataclass(frozen=True, kw_only=True)
class PGD(IterativeAttack):
    """Sign-gradient steps, projected on the ball (Madry et al. 2018). Cost: ``steps`` forwards and backwards.

    Attributes:
        steps: number of steps T.
        step_size: length of a step relative to epsilon; by default 2.5 / T.
        start: where in the ball to begin: ``"uniform"`` (Madry), ``"normal"`` (0.001 N(0,1), TRADES) or
            ``"clean"``.
    """

    travel: ClassVar[float] = 2.5
    method_options: ClassVar[tuple[str, ...]] = ("steps", "step_size", "start")

    start: Literal["uniform", "normal", "clean"] = "uniform"

    def __post_init__(self) -> None:
        check_choices(self)
        super().__post_init__()

    def perturb(self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        perturbed, length = self.initial(images, epsilon, random), epsilon * self.relative_step
        for _ in range(self.steps):
            step = length * objective.gradient(perturbed).sign()
            perturbed = project(perturbed + step, images, epsilon)
        return perturbed

    def initial(self, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        """Images [B,3,H,W] that the first step starts from."""
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

    Starts at the clean image. Norms are per image, so results do not depend on the batch.
    Cost: ``steps`` forwards and backwards.

    Attributes:
        steps: number of steps T.
        momentum: factor of the accumulated gradient.
        step_size: length of a step relative to epsilon; by default 1 / T.
    """

    momentum: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.momentum < 0:
            raise ValueError(f"Expected a momentum of at least 0, got {self.momentum}.")

    def perturb(self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        length = epsilon * self.relative_step
        perturbed, direction = images, torch.zeros_like(images)
        for _ in range(self.steps):
            gradient = objective.gradient(perturbed)
            norm = gradient.abs().sum((1, 2, 3), keepdim=True).clamp_min(1e-12)
            direction = self.momentum * direction + gradient / norm
            perturbed = project(perturbed + length * direction.sign(), images, epsilon)
        return perturbed
