"""PGD that lets go of an image once it is broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from egat_hub.attacks import PGD
from egat_hub.attacks.base import Attacked, project
from egat_hub.randomness import SampleRandom
from egat_hub.training_attacks.ascent import Ascent
from egat_hub.training_attacks.base import TRAINING_ATTACKS, Found, TrainingAttack


@TRAINING_ATTACKS.register("early_stop")
@dataclass(frozen=True, kw_only=True)
class EarlyStop(TrainingAttack):
    """The first image that is misclassified is taken (friendly adversarial training, Zhang et al. 2020).

    An image that is broken moves ``tau`` steps further and is then left as it is, so the batch shrinks;
    whether it is broken is read off the forward that its gradient takes anyway. The images are weaker than
    those of PGD, by design: clean accuracy gains, robustness to stronger attacks may not. Cost: at most T
    gradients, fewer the less the network withstands, and a wait for the device in every step.

    Attributes:
        tau: steps that a broken image still moves (the paper: 0 to 3, growing).

    Raises:
        ValueError: a negative number.
    """

    varies: ClassVar[bool] = True

    tau: int = 0

    def __post_init__(self) -> None:
        if self.tau < 0:
            raise ValueError(f"Expected tau of at least 0 steps, got {self.tau}.")

    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        asked = 0

        def search(images: Tensor, random: SampleRandom) -> Attacked:
            nonlocal asked
            length = ascent.epsilon * pgd.relative_step
            perturbed = pgd.begin(images, ascent.epsilon, random).clone()
            rows = torch.arange(len(images), device=images.device)
            left = torch.full_like(rows, self.tau)
            for _ in range(pgd.steps):
                slope = ascent.slope(perturbed[rows], rows)
                asked += len(rows)
                if not torch.isfinite(slope.gradient).all():
                    return Attacked(torch.full_like(images, torch.nan))
                broken = slope.logits.argmax(1) != ascent.labels[rows]
                going = ~broken | (left[rows] > 0)
                left[rows] -= broken.long()
                rows = rows[going]
                if len(rows) == 0:
                    break
                moved = perturbed[rows] + length * slope.gradient[going].sign()
                perturbed[rows] = project(moved, images[rows], ascent.epsilon)
            return Attacked(perturbed)

        found = pgd.bounded(search, ascent.network, ascent.images, ascent.epsilon, ascent.random)
        return Found(found.images, asked / len(ascent.images))
