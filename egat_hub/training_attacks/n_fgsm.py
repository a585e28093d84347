"""One step from noise that may leave the ball."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from egat_hub.attacks import PGD, GradientAttack
from egat_hub.attacks.gradient import Gradient
from egat_hub.randomness import SampleRandom
from egat_hub.training_attacks.ascent import Ascent
from egat_hub.training_attacks.base import TRAINING_ATTACKS, Found, TrainingAttack


@TRAINING_ATTACKS.register("n_fgsm")
@dataclass(frozen=True, kw_only=True)
class NFGSM(TrainingAttack):
    """``x' = x + k U(-e, e) + a e sign g`` with k = 2 and a = 1 (de Jorge et al., NeurIPS 2022).

    Neither start nor result is projected on the ball: a pixel moves by up to (k + a) epsilon and stays within
    [0, 1]. More noise and no projection are what keeps this single step from catastrophic overfitting in its
    paper's experiments; that is no guarantee. Number and length of the method's steps and its start are not
    used. Cost: one gradient.

    Attributes:
        noise: k, the noise relative to epsilon.
        step: a, the length of the step relative to epsilon.

    Raises:
        ValueError: negative noise, or a step that is not positive.
    """

    noise: float = 2.0
    step: float = 1.0

    def __post_init__(self) -> None:
        if self.noise < 0 or self.step <= 0:
            raise ValueError(
                f"Expected noise of at least 0 and a positive step, got {self.noise} and {self.step}."
            )

    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        attack = _NoisyStep(noise=self.noise * ascent.epsilon, length=self.step * ascent.epsilon)
        return Found(ascent.follow(attack, radius=min(1.0, attack.noise + attack.length)), 1)


@dataclass(frozen=True, kw_only=True)
class _NoisyStep(GradientAttack):
    """In pixel units, whatever the ball."""

    noise: float
    length: float

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        noisy = (images + random.uniform(images, -self.noise, self.noise, "attack")).clamp(0, 1)
        return noisy + self.length * gradient(noisy).sign()
