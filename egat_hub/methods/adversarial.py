"""What methods that attack while they train have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egat_hub.attacks import PGD
from egat_hub.attacks.base import check_epsilon
from egat_hub.attacks.gradient import Objective
from egat_hub.backbone import Backbone
from egat_hub.folding import find_pairs, folded
from egat_hub.methods.base import Batch, Method, MethodConfig


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig(MethodConfig):
    """The training attack: PGD in an L-infinity ball.

    Attributes:
        epsilon: radius in pixel units (the EGAT paper explores 0.01 to 0.04; its default is not legible).
        attack_steps: PGD steps T.
        step_size: step relative to epsilon; by default 2.5 / T.
        epsilon_warmup: steps over which epsilon grows linearly to its full size.

    Raises:
        ValueError: epsilon outside [0, 1].
    """

    epsilon: float = 0.01
    attack_steps: int = 10
    step_size: float | None = None
    epsilon_warmup: int = 0

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        super().__post_init__()
        self.attack()

    def epsilon_at(self, step: int) -> float:
        """The radius at a training step."""
        return self.epsilon * min(1.0, (step + 1) / max(1, self.epsilon_warmup))

    def perturb(self, backbone: Backbone, batch: Batch, *, objective: Objective | None = None) -> Tensor:
        """Attacked images [B,3,H,W] of a training step."""
        epsilon = self.epsilon_at(batch.step)
        return self.attack()(
            backbone, batch.images, batch.labels, epsilon, random=batch.random, objective=objective
        )

    def attack(self) -> PGD:
        """The training attack with a uniform random start."""
        return PGD(steps=self.attack_steps, step_size=self.step_size)


class AdversarialMethod(Method):
    """A method that attacks while it trains, on a network made cheaper for as long as the attack lasts.

    What can be folded is found when the method is made; nothing of it enters ``state_dict``.
    """

    config: AdversarialConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        size, channels = self.backbone.image_size, self.backbone.mean.shape[1]
        images = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))
        self.foldable = find_pairs(self.backbone, images)

    @contextmanager
    def attacking(self) -> Iterator[None]:
        """Eval mode inside, with BatchNorm folded into the layers before it, which changes rounding alone.

        Weights are constants inside: attacks and their targets belong here, losses do not.
        """
        with folded(self.backbone, self.foldable):
            yield

    def perturb(self, batch: Batch) -> Tensor:
        """Attacked images [B,3,H,W] of a training step."""
        with self.attacking():
            return self.config.perturb(self.backbone, batch)
