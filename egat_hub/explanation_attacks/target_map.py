"""The map comes to look like another one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.explanation_attacks.base import EXPLANATION_ATTACKS, ExplanationAttack
from egat_hub.explanation_attacks.mass import mass
from egat_hub.explanation_attacks.mass_centre import centre
from egat_hub.explanation_attacks.search import Goal
from egat_hub.explanations import Explanation, enlarge


@EXPLANATION_ATTACKS.register("target_map")
@dataclass(frozen=True, kw_only=True)
class TargetMap(ExplanationAttack):
    """The signed map as parallel as possible to a given one, by cosine (after Dombrowski et al. 2019).

    With the sign there is a way also to where nothing speaks for the class yet. Without a target it is a
    square in the corner that the map's centre of mass is farthest from, with a third of the image's sides: it
    depends on nothing but the image.

    Attributes:
        target: map [h,w] for all images, or [B,h,w] for each its own, such as that of another image.
    """

    target: Tensor | None = field(default=None, compare=False)

    def goal(self, maps: Tensor, size: tuple[int, ...]) -> Goal:
        if self.target is None:
            wanted = corner_square(centre(mass(maps, size)), size)
        else:
            wanted = enlarge(self.target.to(maps).expand_as(maps), size)
        return lambda changed: F.cosine_similarity(enlarge(changed, size).flatten(1), wanted.flatten(1))

    def protocol(self, explanation: Explanation) -> dict[str, Any]:
        return {**super().protocol(explanation), "target": "corner" if self.target is None else "given"}


def corner_square(centres: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps [B,H,W] of 1 in the third of rows and columns that is farthest from ``centres`` [B,2], else 0."""
    y, x = (
        torch.where((c >= 0.5)[:, None], place < 1 / 3, place > 2 / 3)
        for c, place in zip(
            centres.unbind(1), ((torch.arange(n).to(centres) + 0.5) / n for n in size), strict=True
        )
    )
    return (y[:, :, None] & x[:, None, :]).to(centres)
