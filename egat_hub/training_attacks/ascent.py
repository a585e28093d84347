"""The inner maximisation of a training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from egat_hub.attacks import GradientAttack
from egat_hub.randomness import SampleRandom
from egat_hub.training_attacks.memory import Memory

Rows = Tensor | slice
"""Positions in the batch [b], or a slice of it."""


class Slope(NamedTuple):
    """The gradient [b,3,H,W] of the summed objective by the images, and the logits [b,C] there."""

    gradient: Tensor
    logits: Tensor


@dataclass(frozen=True, eq=False)
class Ascent:
    """What is maximised in a training step, and where.

    Attributes:
        network: images in [0,1] to logits.
        images: clean images [B,3,H,W] in [0,1].
        labels: classes [B].
        epsilon: radius of the ball in pixel units, in [0, 1].
        random: keyed random numbers of this step and these images.
        slope: from perturbed images [b,3,H,W] and their rows in the batch. Cost: one gradient of the method's
            objective, for ``b`` images.
        frames: which part of its image each of ``images`` shows [B,5], as
            :class:`~egat_hub.training_attacks.memory.Memory` has it, or None for the whole of it.
        memory: perturbations of earlier epochs, for attacks that remember.
    """

    network: nn.Module
    images: Tensor
    labels: Tensor
    epsilon: float
    random: SampleRandom
    slope: Callable[[Tensor, Rows], Slope]
    frames: Tensor | None = None
    memory: Memory | None = None

    def follow(self, attack: GradientAttack, *, radius: float | None = None) -> Tensor:
        """The images [B,3,H,W] that an attack on all of them finds in a ball, by default that of epsilon."""
        return attack.ascend(
            lambda perturbed: self.slope(perturbed, slice(None)).gradient,
            self.network,
            self.images,
            self.epsilon if radius is None else radius,
            random=self.random,
        )
