"""Robust accuracy at several budgets, and attacked images stored in 8 bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.attacks.base import NOTHING, Attack
from egat_hub.core.randomness import SampleRandom
from egat_hub.models.modes import evaluating


class Survivors:
    """A batch at one budget.

    An image stands as long as a fresh forward classifies every perturbation of it correctly. The worst
    perturbation is one that breaks the image, else the one of highest cross-entropy.

    Args:
        model: images in [0,1] to logits.
        images: [B,3,H,W], what counts as the worst while nothing was tried.
        labels: true classes [B].
        standing: [B], which images stand at the beginning.

    Attributes:
        standing: [B], which images stand.
        worst: [B,3,H,W], the worst perturbations.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, standing: Tensor) -> None:
        self.standing = standing.clone()
        self.worst = images.clone()
        self._model = model
        self._labels = labels
        self._highest = torch.full((len(images),), -torch.inf, device=images.device)

    def rows(self) -> Tensor:
        """Positions of the images that stand."""
        return self.standing.nonzero()[:, 0]

    def face(self, found: Tensor, rows: Tensor) -> None:
        """Judge perturbed images [len(rows),3,H,W] of the standing images in ``rows``."""
        logits = self._model(found)
        holds = logits.argmax(1) == self._labels[rows]
        loss = F.cross_entropy(logits, self._labels[rows], reduction="none").float()
        worse = ~holds | (loss > self._highest[rows])
        self.worst[rows[worse]] = found[worse]
        self._highest[rows] = torch.maximum(self._highest[rows], loss)
        self.standing[rows] = holds


LEVELS = 255
ROUNDING = 1e-3
"""How far, in levels, a bound may lie from the level that it stands for: float32 of k/255 is not exact."""


def to_eight_bits(perturbed: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """The nearest images of 8 bits a channel that stay within ``epsilon`` of ``images``.

    Rounding alone may leave the ball. Where the ball holds no level at all (a budget of less than half a
    level around an image that is between two), the nearest level to the clean image stands.

    Args:
        perturbed: images [B,3,H,W] in [0,1] within the ball.
        images: clean images [B,3,H,W] in [0,1].
        epsilon: radius of the ball in pixel units.
    """
    lowest = ((images - epsilon) * LEVELS - ROUNDING).ceil()
    highest = ((images + epsilon) * LEVELS + ROUNDING).floor()
    levels = torch.minimum(torch.maximum((perturbed * LEVELS).round(), lowest), highest)
    levels = torch.where(lowest > highest, (images * LEVELS).round(), levels)
    return levels.clamp(0, LEVELS) / LEVELS


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
