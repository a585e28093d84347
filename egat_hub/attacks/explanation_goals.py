"""Attacks on explanations: the goal of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.attacks.explanation import EXPLANATION_ATTACKS, ExplanationAttack, Goal
from egat_hub.explanations import NORMALIZATIONS, Explanation, enlarge
from egat_hub.explanations.similarity import top_region


def mass(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Share of every pixel [B,H,W] in the positive part of signed maps [B,h,w], zero where there is none."""
    return NORMALIZATIONS["sum"](enlarge(maps, size).relu())


@EXPLANATION_ATTACKS.register("keep_map")
@dataclass(frozen=True, kw_only=True)
class KeepMap(ExplanationAttack):
    """Another prediction, whose map is as parallel as possible to that of the clean prediction, by cosine.

    Both are what a user would see: the positive part of the map of the predicted class. Cross-entropy is
    maximized until the prediction flips, the agreement of the maps from then on (after Zhang et al. 2020).
    """

    flips: ClassVar[bool] = True

    def goal(self, maps: Tensor, size: tuple[int, ...]) -> Goal:
        clean = mass(maps, size).flatten(1)
        return lambda changed: F.cosine_similarity(mass(changed, size).flatten(1), clean)


@EXPLANATION_ATTACKS.register("mass_centre")
@dataclass(frozen=True, kw_only=True)
class MassCentre(ExplanationAttack):
    """The map's centre of mass as near as possible to the corner that it was farthest from.

    Ghorbani et al. (2019, mass-centre attack) maximize its distance from where it was, whose gradient is zero
    there. At the farthest corner that distance is largest, and the gradient towards it is never zero.
    """

    def goal(self, maps: Tensor, size: tuple[int, ...]) -> Goal:
        corner = (centre(mass(maps, size)) < 0.5).to(maps)
        return lambda changed: -(centre(mass(changed, size)) - corner).norm(dim=1)


def centre(shares: Tensor) -> Tensor:
    """Centre of mass [B,2] of distributions [B,H,W], as (y, x) from 0 to 1 of the sides."""
    y, x = ((torch.arange(side).to(shares) + 0.5) / side for side in shares.shape[1:])
    return torch.stack([shares.sum(2) @ y, shares.sum(1) @ x], 1)


@EXPLANATION_ATTACKS.register("target_map")
@dataclass(frozen=True, kw_only=True)
class TargetMap(ExplanationAttack):
    """The signed map as parallel as possible to a given one, by cosine (after Dombrowski et al. 2019).

    The sign leads also to where there is no evidence for the class yet. The default target is a square with a
    third of the image's sides, in the corner that the map's centre of mass is farthest from.

    Attributes:
        target: one map [h,w] for all images or one each [B,h,w], such as that of another image.
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


@EXPLANATION_ATTACKS.register("top_k")
@dataclass(frozen=True, kw_only=True)
class TopK(ExplanationAttack):
    """As little of the map as possible in its former top region (Ghorbani et al. 2019, top-k attack).

    Attributes:
        share: share of the pixels in that region.
    """

    share: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise ValueError(f"Expected share in (0, 1), a share of the pixels, got {self.share}.")

    def goal(self, maps: Tensor, size: tuple[int, ...]) -> Goal:
        region = top_region(maps, self.share, size)
        return lambda changed: -(mass(changed, size) * region).sum((1, 2))
