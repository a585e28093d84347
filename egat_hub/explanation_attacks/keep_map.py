"""The prediction flips, and the map does not tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from egat_hub.explanation_attacks.base import EXPLANATION_ATTACKS, ExplanationAttack
from egat_hub.explanation_attacks.mass import mass
from egat_hub.explanation_attacks.search import Goal


@EXPLANATION_ATTACKS.register("keep_map")
@dataclass(frozen=True, kw_only=True)
class KeepMap(ExplanationAttack):
    """Another prediction, whose map is as parallel as possible to that of the clean prediction, by cosine.

    Both are what a user would be shown: the positive part of the map of the class that is predicted.
    Cross-entropy is ascended until the prediction flips, the agreement of the maps from there on (after Zhang
    et al. 2020).
    """

    flips: ClassVar[bool] = True

    def goal(self, maps: Tensor, size: tuple[int, ...]) -> Goal:
        clean = mass(maps, size).flatten(1)
        return lambda changed: F.cosine_similarity(mass(changed, size).flatten(1), clean)
