"""Robust accuracy over several budgets and restarts, each sample attacked only while it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from egat_hub.attacks.base import NOTHING, Attack
from egat_hub.attacks.survivors import Survivors
from egat_hub.modes import evaluating
from egat_hub.randomness import SampleRandom


class CurvePoint(NamedTuple):
    """What an attack left standing at one budget.

    Attributes:
        epsilon: the budget.
        correct: [B], whether the sample is still classified correctly; never true where it was false at a
            smaller budget.
        images: [B,3,H,W], the worst image found: one that breaks the sample, else the one of highest loss.
        stands: for each of the attack's ``parts``, whether the sample is still classified correctly after
            it [B]; false where it was broken before.
        flags: for each of the attack's ``checks``, 1 where the sample raised it, 0 where it did not and NaN
            where it was not attacked [B].
    """

    epsilon: float
    correct: Tensor
    images: Tensor
    stands: Mapping[str, Tensor] = NOTHING
    flags: Mapping[str, Tensor] = NOTHING


@torch.no_grad()
def attack_curve(
    model: nn.Module,
    attack: Attack,
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    *,
    restarts: int = 1,
    random: SampleRandom | None = None,
    correct: Tensor | None = None,
) -> list[CurvePoint]:
    """Attack a batch at every budget, in ascending order.

    What is misclassified clean, or broke at a smaller budget or an earlier restart, counts as broken and is
    not attacked again. Correctness always comes from a fresh forward on the stored images.

    Args:
        model: images in [0,1] to logits.
        attack: the attack to run.
        images: clean images [B,3,H,W] in [0,1].
        labels: true classes [B].
        epsilons: budgets in [0, 1].
        restarts: independent runs a budget, the worst of which counts.
        random: keyed random numbers; restart r draws from step r.
        correct: [B], whether the clean images are classified correctly, if that is known already.

    Raises:
        ValueError: no restart.
    """
    if restarts < 1:
        raise ValueError(f"Expected at least 1 restart, got {restarts}.")
    random = random or SampleRandom.by_position(images)
    with evaluating(model):
        attack = attack.adapted(model, images)
        standing = model(images).argmax(1) == labels if correct is None else correct
        worst, points = images, []
        for epsilon in sorted(epsilons):
            batch = Survivors(model, worst, labels, standing)
            stands = {part: standing.clone() for part in attack.parts}
            flags = {
                check: torch.full(labels.shape, torch.nan, device=images.device) for check in attack.checks
            }
            for restart in range(restarts):
                rows = batch.rows()
                if len(rows) == 0:
                    break
                draws = replace(random.select(batch.standing), step=restart)
                found = attack.report(model, images[rows], labels[rows], epsilon, random=draws)
                batch.face(found.images, rows)
                for part, held in found.stands.items():
                    stands[part][rows] &= held | batch.standing[rows]
                for check, raised in found.flags.items():
                    flags[check][rows] = flags[check][rows].fmax(raised.float())
            worst, standing = batch.worst, batch.standing
            points.append(CurvePoint(epsilon, standing, worst, stands, flags))
    return points
