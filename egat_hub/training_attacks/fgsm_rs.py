"""One long step from a random point of the ball."""

from __future__ import annotations

from dataclasses import dataclass

from egat_hub.attacks import PGD
from egat_hub.training_attacks.ascent import Ascent
from egat_hub.training_attacks.base import TRAINING_ATTACKS, Found, TrainingAttack


@TRAINING_ATTACKS.register("fgsm_rs")
@dataclass(frozen=True, kw_only=True)
class FGSMRS(TrainingAttack):
    """``x' = P(P(x + U(-e, e)) + 1.25 e sign g)``, P onto the ball (Wong et al., ICLR 2020).

    Number and length of the method's steps and its start are not used. One step may end in catastrophic
    overfitting: within a few hundred training steps, robustness to PGD falls to nothing while that to a
    single step stays high, the sooner the larger epsilon is. The flag ``single_step`` of an evaluation tells;
    ``n_fgsm`` is less prone to it. Cost: one gradient.

    Attributes:
        step: length of the step relative to epsilon.

    Raises:
        ValueError: a step that is not positive.
    """

    step: float = 1.25

    def __post_init__(self) -> None:
        self._attack()

    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        return Found(ascent.follow(self._attack()), 1)

    def _attack(self) -> PGD:
        return PGD(steps=1, step_size=self.step)
