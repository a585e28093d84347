"""Attacks to test with."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from egat_hub.attacks import PGD, Attack, Objective
from egat_hub.core.randomness import SampleRandom


@dataclass(frozen=True, kw_only=True)
class Recording(PGD):
    """PGD that records its arguments and results."""

    steps: int = 2
    calls: list = field(default_factory=list)

    def perturb(self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        found = super().perturb(objective, images, epsilon, random)
        self.calls.append((epsilon, random, found))
        return found


@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """Uniform noise without gradients: it succeeds at one restart and not at another."""

    def perturb(self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        return images + random.uniform(images, -epsilon, epsilon, "attack")


@dataclass(frozen=True, kw_only=True)
class Scripted(Attack):
    """One given image for each restart."""

    script: tuple[Tensor, ...]

    def perturb(self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        return self.script[random.step].expand_as(images)


@dataclass(frozen=True, kw_only=True)
class Unruly(Attack):
    """An attack that leaves the ball."""

    by: float

    def perturb(self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        return images + self.by
