"""Update rules to test with."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from egat_hub.attacks import PGD, GradientAttack
from egat_hub.attacks.base import Gradient
from egat_hub.core.randomness import SampleRandom


@dataclass(frozen=True, kw_only=True)
class Recording(PGD):
    """PGD that remembers what it was asked for and what it found."""

    steps: int = 2
    calls: list = field(default_factory=list)

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        found = super().run(gradient, images, epsilon, random)
        self.calls.append((epsilon, random, found))
        return found


@dataclass(frozen=True, kw_only=True)
class Noise(GradientAttack):
    """Uniform noise, no gradient asked for: it breaks a sample at one restart and not at another."""

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        return images + random.uniform(images, -epsilon, epsilon, "attack")


@dataclass(frozen=True, kw_only=True)
class Scripted(GradientAttack):
    """One given image for each restart."""

    script: tuple[Tensor, ...]

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        return self.script[random.step].expand_as(images)


@dataclass(frozen=True, kw_only=True)
class Unruly(GradientAttack):
    """An update rule that knows no bounds."""

    by: float

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        return images + self.by
