"""The centre of a map goes elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from egat_hub.explanation_attacks.base import EXPLANATION_ATTACKS, ExplanationAttack
from egat_hub.explanation_attacks.mass import mass
from egat_hub.explanation_attacks.search import Goal


@EXPLANATION_ATTACKS.register("mass_centre")
@dataclass(frozen=True, kw_only=True)
class MassCentre(ExplanationAttack):
    """The map's centre of mass as near as possible to the corner that it was farthest from.

    Ghorbani et al. (2019, mass-centre attack) maximise its distance from where it was, whose gradient is zero
    there. The farthest corner is where that distance is largest, and there is a way to it from the first
    step.
    """

    def goal(self, maps: Tensor, size: tuple[int, ...]) -> Goal:
        corner = (centre(mass(maps, size)) < 0.5).to(maps)
        return lambda changed: -(centre(mass(changed, size)) - corner).norm(dim=1)


def centre(shares: Tensor) -> Tensor:
    """Centre of mass [B,2] of distributions [B,H,W], as (y, x) from 0 to 1 of the sides."""
    y, x = ((torch.arange(side).to(shares) + 0.5) / side for side in shares.shape[1:])
    return torch.stack([shares.sum(2) @ y, shares.sum(1) @ x], 1)
