"""Other attacks, whose robust accuracy stands beside that of the evaluation's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from egat_hub.evaluation import EvaluationConfig


@dataclass(frozen=True, kw_only=True)
class FurtherAttack:
    """One more attack on the test images of the training domain, such as AutoAttack.

    Attributes:
        attack: name of an attack, such as ``"auto_attack"``.
        attack_options: its fields, such as ``{"iterations": 20}``.
        restarts: independent attacks a budget, the worst of which counts.
        epsilons: budgets in [0, 1]; none for the experiment's epsilon alone.
        images: number of test images, drawn at random, the same for all methods; all of them by default.

    Raises:
        ValueError: an epsilon outside [0, 1], fewer than 1 restart, or no image.
        ImportError: the package that the attack needs is not installed.
    """

    attack: str
    attack_options: dict[str, Any] = field(default_factory=dict)
    restarts: int = 1
    epsilons: tuple[float, ...] = ()
    images: int | None = None

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 1:
            raise ValueError(f"Expected at least 1 image for a further attack, got {self.images}.")
        self.evaluation(EvaluationConfig())

    def facing(self, epsilon: float) -> FurtherAttack:
        """With the experiment's epsilon where no budget is given."""
        return self if self.epsilons else replace(self, epsilons=(epsilon,))

    def evaluation(self, first: EvaluationConfig) -> EvaluationConfig:
        """What is measured: as ``first``, but this attack alone."""
        return first.accuracy_only(
            attack=self.attack,
            attack_options=self.attack_options,
            restarts=self.restarts,
            epsilons=self.epsilons,
        )
