"""Robust accuracy over several budgets and restarts, each sample attacked only while it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.attacks.base import Attack
from egat_hub.modes import evaluating
from egat_hub.randomness import SampleRandom


class CurvePoint(NamedTuple):
    """What an attack left standing at one budget.

    Attributes:
        epsilon: the budget.
        correct: [B], whether the sample is still classified correctly; never true where it was false at a
            smaller budget.
        images: [B,3,H,W], the worst image found: one that breaks the sample, else the one of highest loss.
    """

    epsilon: float
    correct: Tensor
    images: Tensor


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
    random = random or SampleRandom(0, tuple(range(len(images))))
    with evaluating(model):
        standing = model(images).argmax(1) == labels if correct is None else correct.clone()
        worst, points = images.clone(), []
        for epsilon in sorted(epsilons):
            highest = torch.full((len(images),), -torch.inf, device=images.device)
            for restart in range(restarts):
                chosen = standing.nonzero()[:, 0]
                if len(chosen) == 0:
                    break
                draws = replace(random.select(standing), step=restart)
                found = attack(model, images[chosen], labels[chosen], epsilon, random=draws)
                logits = model(found)
                holds = logits.argmax(1) == labels[chosen]
                loss = F.cross_entropy(logits, labels[chosen], reduction="none").float()
                better = ~holds | (loss > highest[chosen])
                worst[chosen[better]] = found[better]
                highest[chosen] = torch.maximum(highest[chosen], loss)
                standing[chosen] = holds
            points.append(CurvePoint(epsilon, standing.clone(), worst.clone()))
    return points
