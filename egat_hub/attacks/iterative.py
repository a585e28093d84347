"""What attacks of several equal steps have in common."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from egat_hub.attacks.gradient import GradientAttack

REACH = 0.2
"""Part of epsilon below which all steps together are taken for a mistake, as a step in units of pixels is."""


@dataclass(frozen=True, kw_only=True)
class IterativeAttack(GradientAttack):
    """A number of steps of one length, which is relative to epsilon.

    Attributes:
        steps: number of steps T.
        step_size: length of a step relative to epsilon; by default the attack's own share.

    Raises:
        ValueError: less than one step, or a step that is not positive.
    """

    steps: int = 10
    step_size: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"Expected at least 1 step, got {self.steps}.")
        if self.step_size is not None and self.step_size <= 0:
            raise ValueError(f"Expected a positive step_size, got {self.step_size}.")
        reach = self.steps * self.relative_step
        if reach < REACH:
            warnings.warn(
                f"{self.steps} steps of step_size {self.relative_step:g} reach {reach:.0%} of epsilon. It "
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
        return self.default_step() if self.step_size is None else self.step_size

    @abstractmethod
    def default_step(self) -> float:
        """Length of a step relative to epsilon where none is given."""
