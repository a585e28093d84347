"""Attacks that need nothing but the gradient of an objective."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.attacks.base import Attack, Attacked
from egat_hub.randomness import SampleRandom

Objective = Callable[[Tensor], Tensor]
"""What an attack maximises: logits [B,C] to one value a sample [B]."""

Gradient = Callable[[Tensor], Tensor]
"""Images [B,3,H,W] to the gradient of the summed objective with respect to them."""


@dataclass(frozen=True, kw_only=True)
class GradientAttack(Attack):
    """An update rule that follows a gradient; a subclass writes ``run``.

    The objective is summed, so that gradients neither vanish nor depend on the batch size.
    """

    @final
    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        epsilon: float,
        *,
        random: SampleRandom | None = None,
        objective: Objective | None = None,
    ) -> Tensor:
        """Perturbed images [B,3,H,W].

        Args:
            model: images in [0,1] to logits.
            images: clean images [B,3,H,W] in [0,1].
            labels: true classes [B].
            epsilon: radius of the ball in pixel units, in [0, 1].
            random: keyed random numbers; by default those of seed 0 and the position in the batch.
            objective: what to maximise; by default cross-entropy against ``labels``.

        Raises:
            ValueError: epsilon outside [0, 1].
            FloatingPointError: the model's gradient is not finite.
        """
        if objective is None:
            return super().__call__(model, images, labels, epsilon, random=random)
        return self.ascend(_gradient(model, objective), model, images, epsilon, random=random)

    @final
    def ascend(
        self,
        gradient: Gradient,
        model: nn.Module,
        images: Tensor,
        epsilon: float,
        *,
        random: SampleRandom | None = None,
    ) -> Tensor:
        """Perturbed images [B,3,H,W] for objectives that are no function of the logits.

        Args:
            gradient: perturbed images [B,3,H,W] to the gradient of the summed objective.
            model: the network behind ``gradient``.
            images: clean images [B,3,H,W] in [0,1].
            epsilon: radius of the ball in pixel units, in [0, 1].
            random: as for a call.

        Raises:
            ValueError: epsilon outside [0, 1].
            FloatingPointError: the gradient is not finite.
        """

        def search(clean: Tensor, draws: SampleRandom) -> Attacked:
            return self._climb(gradient, clean, epsilon, draws)

        return self.bounded(search, model, images, epsilon, random).images

    @final
    def search(
        self, model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, random: SampleRandom
    ) -> Attacked:
        def objective(logits: Tensor) -> Tensor:
            return F.cross_entropy(logits, labels, reduction="none")

        return self._climb(_gradient(model, objective), images, epsilon, random)

    def _climb(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Attacked:
        finite = torch.ones((), dtype=torch.bool, device=images.device)

        def watched(perturbed: Tensor) -> Tensor:
            nonlocal finite
            slope = gradient(perturbed)
            finite = finite & torch.isfinite(slope).all()  # sign(NaN) is 0: no attack at all
            return slope

        perturbed = self.run(watched, images, epsilon, random)
        return Attacked(torch.where(finite, perturbed, torch.nan))

    @abstractmethod
    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        """The update rule: from clean ``images`` to perturbed ones; gradients are not recorded here."""


def _gradient(model: nn.Module, objective: Objective) -> Gradient:
    def gradient(perturbed: Tensor) -> Tensor:
        with torch.enable_grad():
            perturbed = perturbed.detach().requires_grad_()
            return torch.autograd.grad(objective(model(perturbed)).sum(), perturbed)[0]

    return gradient
