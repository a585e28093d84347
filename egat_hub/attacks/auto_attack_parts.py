"""The four attacks of AutoAttack, as the package ``pyautoattack`` implements them.

The package takes care of a single run. Which images are attacked, the random numbers and the verdict are
ours; neither its global seeds nor its prints are used.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from egat_hub.attacks.checks import margin
from egat_hub.randomness import SampleRandom, derive_seed

SILENT = logging.Logger("pyautoattack", level=logging.CRITICAL + 1)


class Victim:
    """A model as the package calls it: float32 in and out, any batch size.

    Args:
        model: images in [0,1] to logits.
        dtype: of the model's images.
        classes: number of logits.

    Attributes:
        finite: whether every gradient was finite so far.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, classes: int, device: torch.device) -> None:
        self.finite = torch.ones((), dtype=torch.bool, device=device)
        self._model = model
        self._dtype = dtype
        self._classes = classes

    def __call__(self, images: Tensor) -> Tensor:
        if len(images) == 0:
            return images.new_zeros(0, self._classes)
        if images.requires_grad:
            images = images.view_as(images)
            images.register_hook(self._watch)
        return self._model(images.to(self._dtype)).float()

    def _watch(self, slope: Tensor) -> None:
        self.finite = self.finite & torch.isfinite(slope).all()


@dataclass(frozen=True, kw_only=True)
class Part(ABC):
    """An attack of the cascade.

    Attributes:
        name: as rows call it.
        runs: how often it is run, with other random starts or towards other classes.
    """

    name: str
    runs: int = 1

    @property
    @abstractmethod
    def passes(self) -> int:
        """Forwards and backwards of a run for one image that stands."""

    @abstractmethod
    def attempt(
        self, run: int, victim: Victim, images: Tensor, labels: Tensor, epsilon: float, random: SampleRandom
    ) -> Tensor:
        """Perturbed images [B,3,H,W] of correctly classified ones, not necessarily within the ball.

        Args:
            run: which of the runs, from 0.
            victim: what to attack.
            images: float32 [B,3,H,W] in [0,1].
            labels: true classes [B].
            epsilon: radius of the ball.
            random: keyed random numbers.
        """


@dataclass(frozen=True, kw_only=True)
class APGD(Part):
    """Auto-PGD (Croce & Hein 2020): step sizes that adapt to the progress of the loss.

    A run starts at a random point of the ball's surface. Of targeted ones, run r aims at the class of rank
    r + 2.

    Attributes:
        loss: cross-entropy, difference of logits ratio (K >= 3 classes), the same towards a class (K >= 4),
            or the margin of the logits.
        iterations: steps of a run.
        samples: gradients that are averaged in a step, for models with random outputs.
    """

    loss: Literal["ce", "dlr", "dlr-targeted", "margin"]
    iterations: int
    samples: int = 1

    @property
    def passes(self) -> int:
        return 2 * self.samples * (self.iterations + 1) + (self.loss == "dlr-targeted")

    def attempt(
        self, run: int, victim: Victim, images: Tensor, labels: Tensor, epsilon: float, random: SampleRandom
    ) -> Tensor:
        from pyautoattack.autopgd_base import APGDAttack_targeted

        attack = APGDAttack_targeted(
            victim,
            n_iter=self.iterations,
            eps=epsilon,
            eot_iter=self.samples,
            device=images.device,
            logger=SILENT,
        )
        attack.init_hyperparam(images)
        attack.loss = "dlr" if self.loss == "margin" else self.loss
        if self.loss == "margin":
            attack.dlr_loss = margin
        if self.loss == "dlr-targeted":
            others = victim(images).scatter(1, labels[:, None], -torch.inf)
            attack.y_target = others.topk(run + 1).indices[:, run]
        shift = random.uniform(images, -1, 1, f"{self.name} {run}")
        start = images + epsilon * shift / shift.abs().amax((1, 2, 3), keepdim=True)
        best, stands, _, breaking = attack.attack_single_run(images, labels, start)
        return torch.where(stands.bool()[:, None, None, None], best, breaking)


@dataclass(frozen=True, kw_only=True)
class FAB(Part):
    """Fast adaptive boundary attack (Croce & Hein 2020): the nearest image of another class.

    Run r aims at the class of rank r + 2. Nothing is random. What lies beyond the ball is projected on it.

    Attributes:
        iterations: steps of a run.
    """

    iterations: int

    @property
    def passes(self) -> int:
        return 3 * self.iterations + 2

    def attempt(
        self, run: int, victim: Victim, images: Tensor, labels: Tensor, epsilon: float, random: SampleRandom
    ) -> Tensor:
        from pyautoattack.fab_pt import FABAttack_PT

        attack = FABAttack_PT(victim, n_iter=self.iterations, eps=epsilon, device=images.device)
        attack.target_class = run + 2
        return attack.attack_single_run(images, labels, is_targeted=True)


@dataclass(frozen=True, kw_only=True)
class Square(Part):
    """Square attack (Andriushchenko et al. 2020): random search over squares, by the margin alone.

    The stripes that an image starts with are its own; squares are the same for all images.

    Attributes:
        queries: squares that are tried.
    """

    queries: int

    @property
    def passes(self) -> int:
        return self.queries + 1

    def attempt(
        self, run: int, victim: Victim, images: Tensor, labels: Tensor, epsilon: float, random: SampleRandom
    ) -> Tensor:
        from pyautoattack.square import SquareAttack

        squares = torch.Generator().manual_seed(derive_seed(random.seed, random.step, self.name))

        def signs(shape: Sequence[int]) -> Tensor:
            if len(shape) == images.ndim:
                return random.uniform(images.new_empty(tuple(shape)), -1, 1, self.name).sign()
            return (2 * torch.rand(shape, generator=squares) - 1).sign().to(images)

        def integer(low: int, high: int) -> Tensor:
            return (low + (high - low) * torch.rand(1, generator=squares)).long()

        attack = SquareAttack(
            victim, n_queries=self.queries, eps=epsilon, resc_schedule=False, device=images.device
        )
        attack.init_hyperparam(images)
        attack.random_choice, attack.random_int = signs, integer
        return attack.attack_single_run(images, labels)[1]
