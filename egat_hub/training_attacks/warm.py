"""A few steps from where the last epoch ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from egat_hub.attacks import PGD, GradientAttack
from egat_hub.attacks.base import project
from egat_hub.attacks.gradient import Gradient
from egat_hub.randomness import SampleRandom
from egat_hub.training_attacks.ascent import Ascent
from egat_hub.training_attacks.base import TRAINING_ATTACKS, Found, TrainingAttack


@TRAINING_ATTACKS.register("warm")
@dataclass(frozen=True, kw_only=True)
class Warm(TrainingAttack):
    """The perturbation of every training image goes on from epoch to epoch (ATTA, Zheng et al., CVPR 2020).

    Perturbations move with the augmentation (:class:`~egat_hub.training_attacks.memory.Memory`), are part of
    checkpoints, and begin where the method's PGD does. They are never forgotten; ATTA starts afresh every ten
    epochs. They say nothing about an image in its first epoch, so runs of few epochs gain little. Number and
    length of the method's steps are not used. Cost: ``steps`` gradients.

    Attributes:
        steps: steps in a visit of an image.
        step_size: their length relative to epsilon; the default is an assumption.

    Raises:
        ValueError: less than one step, or a step that is not positive.
    """

    remembers: ClassVar[bool] = True

    steps: int = 1
    step_size: float = 1.0

    def __post_init__(self) -> None:
        PGD(steps=self.steps, step_size=self.step_size)

    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        assert ascent.memory is not None
        numbers, images, epsilon = ascent.random.index, ascent.images, ascent.epsilon
        kept = epsilon * ascent.memory.recall(numbers, ascent.frames, images)
        start = torch.where(kept.isnan(), pgd.begin(images, epsilon, ascent.random) - images, kept)
        attack = _Onwards(pgd=PGD(steps=self.steps, step_size=self.step_size), start=images + start)
        found = ascent.follow(attack)
        if epsilon:
            ascent.memory.keep(numbers, ascent.frames, (found - images) / epsilon)
        return Found(found, self.steps)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Onwards(GradientAttack):
    """PGD from given images."""

    pgd: PGD
    start: Tensor

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        return self.pgd.climb(gradient, project(self.start, images, epsilon), images, epsilon)
