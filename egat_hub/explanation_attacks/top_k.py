"""The most salient region loses its salience."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from egat_hub.explanation_attacks.base import EXPLANATION_ATTACKS, ExplanationAttack
from egat_hub.explanation_attacks.mass import mass
from egat_hub.explanation_attacks.search import Goal
from egat_hub.metrics import top_region


@EXPLANATION_ATTACKS.register("top_k")
@dataclass(frozen=True, kw_only=True)
class TopK(ExplanationAttack):
    """As little of the map as possible in what was its top region (Ghorbani et al. 2019, top-k attack).

    Attributes:
        share: share of the pixels in that region.

    Raises:
        ValueError: as for :class:`ExplanationAttack`, or a share outside (0, 1).
    """

    share: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise ValueError(f"Expected share in (0, 1), a share of the pixels, got {self.share}.")

    def goal(self, maps: Tensor, size: tuple[int, ...]) -> Goal:
        region = top_region(maps, self.share, size)
        return lambda changed: -(mass(changed, size) * region).sum((1, 2))
