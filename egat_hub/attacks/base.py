"""The contract of attacks: what every update rule may rely on and what it can never break."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.modes import evaluating
from egat_hub.randomness import SampleRandom
from egat_hub.registry import Registry

ATTACKS: Registry[type[Attack]] = Registry("attacks")

Objective = Callable[[Tensor], Tensor]
"""What an attack maximises: logits [B,C] to one value a sample [B]."""

Gradient = Callable[[Tensor], Tensor]
"""Images [B,3,H,W] to the gradient of the summed objective with respect to them."""


def check_epsilon(epsilon: float) -> None:
    """Refuse a budget that is not a number in [0, 1].

    Raises:
        ValueError: the remedy for budgets given in 8-bit steps is part of the message.
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(
            f"Expected epsilon in [0, 1] (pixels run from 0 to 1), got {epsilon}; 8/255 is 0.0314."
        )


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A perturbation within an L-infinity ball around images in [0, 1].

    The base class owns the contract; a subclass writes the update rule only. Inside an attack the model is
    in eval mode (and put back exactly), no parameter's ``.grad`` is touched, float16 autocast is off and the
    objective is summed, so that gradients neither vanish nor depend on the batch size. The result is
    detached, within the ball and within [0, 1].
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
        objective = objective or (lambda logits: F.cross_entropy(logits, labels, reduction="none"))
        with torch.inference_mode(False):
            labels = labels.clone()  # what inference mode made, autograd refuses

        def gradient(perturbed: Tensor) -> Tensor:
            with torch.enable_grad():
                perturbed = perturbed.detach().requires_grad_()
                return torch.autograd.grad(objective(model(perturbed)).sum(), perturbed)[0]

        return self.ascend(gradient, model, images, epsilon, random=random)

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
        check_epsilon(epsilon)
        images = images.detach()
        if epsilon == 0 or len(images) == 0:
            return images.clone()
        random = random or SampleRandom(0, tuple(range(len(images))))
        finite = torch.ones((), dtype=torch.bool, device=images.device)

        def checked(perturbed: Tensor) -> Tensor:
            nonlocal finite
            slope = gradient(perturbed)
            finite = finite & torch.isfinite(slope).all()  # sign(NaN) is 0: no attack at all
            return slope

        with torch.inference_mode(False), evaluating(model), without_float16(images), torch.no_grad():
            images = images.clone()
            perturbed = self.run(checked, images, epsilon, random)
            perturbed = project(perturbed, images, epsilon)
        if not (finite & torch.isfinite(perturbed).all()):
            raise FloatingPointError(
                f"{type(self).__name__} met a gradient that is not finite: the model's parameters or outputs "
                "are not finite. Lower the learning rate or clip gradients."
            )
        return perturbed.detach()

    def protocol(self) -> dict[str, Any]:
        """The settings that define the attack, as result rows note them."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @abstractmethod
    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        """The update rule: from clean ``images`` to perturbed ones; gradients are not recorded here."""


def project(perturbed: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """The nearest image within ``epsilon`` of ``images`` and within [0, 1]."""
    return torch.minimum(torch.maximum(perturbed, images - epsilon), images + epsilon).clamp(0, 1)


def without_float16(images: Tensor) -> AbstractContextManager[object]:
    """Autocast off inside if it would lower to float16, whose gradients of images vanish."""
    device = images.device.type
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16:
        return torch.autocast(device, enabled=False)
    return nullcontext()
