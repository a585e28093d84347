"""The contract of training attacks: how a method finds the images that it trains on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor

from egat_hub.attacks import PGD
from egat_hub.registry import Registry
from egat_hub.training_attacks.ascent import Ascent

TRAINING_ATTACKS: Registry[type[TrainingAttack]] = Registry("training_attacks")


class Found(NamedTuple):
    """What a training attack found, and what it took.

    Attributes:
        images: perturbed images [B,3,H,W] in [0,1].
        gradients: gradients that were asked for, in units of a whole batch.
    """

    images: Tensor
    gradients: float


class TrainingAttack(ABC):
    """A way to the attacked images of a training step that starts from the method's own PGD.

    A subclass is a frozen dataclass whose fields are its options. It asks for gradients of the method's
    objective, whatever that is, and draws from keyed random numbers only.

    Attributes:
        varies: whether the number of gradients changes from step to step; it is then logged as
            ``attack_gradients``.
        remembers: whether images are known again in a later epoch, for which they need their numbers.
    """

    varies: ClassVar[bool] = False
    remembers: ClassVar[bool] = False

    @abstractmethod
    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        """Attack the images of a step.

        Args:
            pgd: the PGD that the method is configured with: its steps, their length, and where it starts.
            ascent: the step's images and the gradient of what is to be maximised.

        Raises:
            FloatingPointError: the gradient is not finite.
        """
