"""The fast gradient sign method."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from egat_hub.attacks.base import ATTACKS
from egat_hub.attacks.gradient import Gradient, GradientAttack
from egat_hub.randomness import SampleRandom


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
