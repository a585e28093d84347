"""The method's PGD as it is."""

from __future__ import annotations

from dataclasses import dataclass

from egat_hub.attacks import PGD
from egat_hub.training_attacks.ascent import Ascent
from egat_hub.training_attacks.base import TRAINING_ATTACKS, Found, TrainingAttack


@TRAINING_ATTACKS.register("pgd")
@dataclass(frozen=True, kw_only=True)
class PlainPGD(TrainingAttack):
    """Every step takes the same T steps (Madry et al. 2018). Cost: T gradients."""

    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        return Found(ascent.follow(pgd), pgd.steps)
