"""Robust accuracy at several budgets, and attacked images stored in 8 bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.attacks.base import EMPTY, Attack
from egat_hub.core.metric import is_correct
from egat_hub.core.randomness import SampleRandom
from egat_hub.models.train_mode import evaluating


class WorstCase:
    """The worst perturbations of a batch so far, at one budget.

    An image counts as correct as long as a fresh forward classifies every perturbation of it correctly. The
    worst perturbation is one that is misclassified, else the one of highest cross-entropy.

    Attributes:
        correct: [B], which images are still classified correctly.
        images: [B,3,H,W], the worst perturbations.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, correct: Tensor) -> None:
        self.correct = correct.clone()
        self.images = images.clone()
        self._model = model
        self._labels = labels
        self._highest = torch.full((len(images),), -torch.inf, device=images.device)

    def rows(self) -> Tensor:
        """Positions of the images that are still classified correctly."""
        return self.correct.nonzero()[:, 0]

    def update(self, perturbed: Tensor, rows: Tensor) -> None:
        """Verify perturbed images [len(rows),3,H,W] of the correct images in ``rows``."""
        logits = self._model(perturbed)
        correct = is_correct(logits, self._labels[rows])
        loss = F.cross_entropy(logits, self._labels[rows], reduction="none").float()
        worse = ~correct | (loss > self._highest[rows])
        self.images[rows[worse]] = perturbed[worse]
        self._highest[rows] = torch.maximum(self._highest[rows], loss)
        self.correct[rows] = correct


LEVELS = 255
ROUNDING = 1e-3
"""Tolerance in levels of a bound that is a level: k/255 is not exact in float32."""


def to_eight_bits(perturbed: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """The nearest images of 8 bits a channel that stay within ``epsilon`` of ``images``.

    Both are [B,3,H,W] in [0,1]. Where the ball contains no level, the nearest to the clean image is taken.
    """
    lowest = ((images - epsilon) * LEVELS - ROUNDING).ceil()
    highest = ((images + epsilon) * LEVELS + ROUNDING).floor()
    levels = torch.minimum(torch.maximum((perturbed * LEVELS).round(), lowest), highest)
    levels = torch.where(lowest > highest, (images * LEVELS).round(), levels)
    return levels.clamp(0, LEVELS) / LEVELS


class CurvePoint(NamedTuple):
    """The result of an attack at one budget.

    Attributes:
        epsilon: the budget.
        correct: [B], whether the sample is still classified correctly; never true where it was false at a
            smaller budget.
        images: [B,3,H,W], the worst image found: one that is misclassified, else the one of highest loss.
        correct_after: for each of the attack's ``parts``, whether the sample is still classified correctly
            after it [B]; false where it was misclassified before.
        flags: for each of the attack's ``checks``, 1 where the sample raised it, 0 where it did not and NaN
            where it was not attacked [B].
    """

    epsilon: float
    correct: Tensor
    images: Tensor
    correct_after: Mapping[str, Tensor] = EMPTY
    flags: Mapping[str, Tensor] = EMPTY


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

    An image that is misclassified clean, at a smaller budget or at an earlier restart is not attacked again.
    Correctness always comes from a fresh forward on the stored images.

    Args:
        model: images in [0,1] to logits.
        attack: the attack to run.
        images: clean images [B,3,H,W] in [0,1].
        labels: true classes [B].
        epsilons: budgets in [0, 1].
        restarts: independent runs per budget, the worst of which counts.
        random: keyed random numbers; restart r draws from step r.
        correct: [B], whether the clean images are classified correctly, if that is known already.
    """
    if restarts < 1:
        raise ValueError(f"Expected at least 1 restart, got {restarts}.")
    if attack.reach > 1:
        raise ValueError(
            f"{type(attack).__name__} moves pixels by up to {attack.reach:g} epsilon and does not keep a "
            "budget. Evaluate with another attack."
        )
    random, labels = random or SampleRandom.by_position(images), labels.long()
    with evaluating(model):
        attack = attack.adapted(model, images)
        if correct is None:
            correct = is_correct(model(images), labels)
        worst, points = images, []
        for epsilon in sorted(epsilons):
            batch = WorstCase(model, worst, labels, correct)
            correct_after = {part: correct.clone() for part in attack.parts}
            flags = {
                check: torch.full(labels.shape, torch.nan, device=images.device) for check in attack.checks
            }
            for restart in range(restarts):
                rows = batch.rows()
                if len(rows) == 0:
                    break
                draws = replace(random.select(batch.correct), step=restart)
                result = attack.run(model, images[rows], labels[rows], epsilon, random=draws)
                batch.update(result.images, rows)
                for part, held in result.correct_after.items():
                    correct_after[part][rows] &= held | batch.correct[rows]
                for check, raised in result.flags.items():
                    flags[check][rows] = flags[check][rows].fmax(raised.float())
            worst, correct = batch.images, batch.correct
            points.append(CurvePoint(epsilon, correct, worst, correct_after, flags))
    return points
