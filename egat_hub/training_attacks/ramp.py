"""PGD of more steps the longer training lasts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from egat_hub.attacks import PGD
from egat_hub.config import check_choices
from egat_hub.training_attacks.ascent import Ascent
from egat_hub.training_attacks.base import TRAINING_ATTACKS, Found, TrainingAttack


@TRAINING_ATTACKS.register("ramp")
@dataclass(frozen=True, kw_only=True)
class Ramp(TrainingAttack):
    """The number of steps grows from ``first`` to the method's T (after Cai et al., IJCAI 2018).

    That paper adds a step when the network withstands the last number; here a schedule does, so that a run's
    cost is known beforehand. A step has its own length for each number: 2.5 epsilon / T_t, unless the method
    names one. Cost at training step t: T_t gradients.

    Attributes:
        first: steps at the beginning.
        over: training steps after which it is the method's T.
        schedule: growth with the share s of ``over`` that has passed: ``"linear"``, or ``"quadratic"``, which
            is cheaper, by s^2.

    Raises:
        ValueError: less than one step, or an unknown schedule.
    """

    varies: ClassVar[bool] = True

    first: int = 1
    over: int = 5000
    schedule: Literal["linear", "quadratic"] = "linear"

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("first", "over"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} of at least 1, got {getattr(self, name)}.")

    def steps_at(self, step: int, last: int) -> int:
        """Number of attack steps at a training step, ``last`` in the end; never more than that."""
        share = min(1.0, step / self.over)
        grown = share**2 if self.schedule == "quadratic" else share
        first = min(self.first, last)
        return first + int(grown * (last - first) + 0.5)

    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        steps = self.steps_at(ascent.random.step, pgd.steps)
        return Found(ascent.follow(replace(pgd, steps=steps)), steps)
