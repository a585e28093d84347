"""The contract of attacks: what every one of them may rely on and what it can never break."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from egat_hub.modes import evaluating
from egat_hub.randomness import SampleRandom
from egat_hub.registry import Registry

ATTACKS: Registry[type[Attack]] = Registry("attacks")

NOTHING: Mapping[str, Tensor] = MappingProxyType({})


class Attacked(NamedTuple):
    """What an attack found, and what it has to say about the images.

    Attributes:
        images: perturbed images [B,3,H,W].
        stands: for each of the attack's ``parts``, whether an image was still classified correctly after
            it [B].
        flags: for each of the attack's ``checks``, whether an image raised it [B].
    """

    images: Tensor
    stands: Mapping[str, Tensor] = NOTHING
    flags: Mapping[str, Tensor] = NOTHING


Search = Callable[[Tensor, SampleRandom], Attacked]
"""From clean images [B,3,H,W] and keyed random numbers to what was found, bounds not yet enforced."""


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

    The base class owns the contract; a subclass writes the search only. Inside an attack the model is in
    eval mode (and put back exactly), no parameter's ``.grad`` is touched and float16 autocast is off. The
    result is detached, finite, within the ball and within [0, 1].
    """

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        epsilon: float,
        *,
        random: SampleRandom | None = None,
    ) -> Tensor:
        """Perturbed images [B,3,H,W].

        Args:
            model: images in [0,1] to logits.
            images: clean images [B,3,H,W] in [0,1].
            labels: true classes [B].
            epsilon: radius of the ball in pixel units, in [0, 1].
            random: keyed random numbers; by default those of seed 0 and the position in the batch.

        Raises:
            ValueError: epsilon outside [0, 1].
            FloatingPointError: the model's outputs or gradients are not finite.
        """
        return self.report(model, images, labels, epsilon, random=random).images

    @final
    def report(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        epsilon: float,
        *,
        random: SampleRandom | None = None,
    ) -> Attacked:
        """As a call, with what else the attack knows; without a budget or images it knows nothing."""
        with torch.inference_mode(False):
            labels = labels.clone()  # what inference mode made, autograd refuses

        def search(clean: Tensor, draws: SampleRandom) -> Attacked:
            return self.search(model, clean, labels, epsilon, draws)

        return self.bounded(search, model, images, epsilon, random)

    @final
    def bounded(
        self, search: Search, model: nn.Module, images: Tensor, epsilon: float, random: SampleRandom | None
    ) -> Attacked:
        """What ``search`` finds, under the contract."""
        check_epsilon(epsilon)
        images = images.detach()
        if epsilon == 0 or len(images) == 0:
            return Attacked(images.clone())
        random = random or SampleRandom.by_position(images)
        with torch.inference_mode(False), evaluating(model), without_float16(images), torch.no_grad():
            images = images.clone()
            found = search(images, random)
            perturbed = project(found.images, images, epsilon)
        if not torch.isfinite(perturbed).all():
            raise FloatingPointError(
                f"{type(self).__name__} met a gradient that is not finite: the model's parameters or outputs "
                "are not finite. Lower the learning rate or clip gradients."
            )
        return found._replace(images=perturbed.detach())

    def adapted(self, model: nn.Module, images: Tensor) -> Attack:
        """The attack as it is run on a model: itself, unless it depends on the number of classes or the like.

        Args:
            model: images in [0,1] to logits.
            images: any images [B,3,H,W] of the shape to be attacked.
        """
        return self

    def protocol(self) -> dict[str, Any]:
        """The settings that define the attack, as result rows note them."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @property
    def passes(self) -> int | None:
        """Forwards and backwards for one image that stands to the end; None where that is not known."""
        return None

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the attacks that this one runs after each other; none for a single one."""
        return ()

    @property
    def checks(self) -> tuple[str, ...]:
        """Names of what the attack finds suspicious."""
        return ()

    @abstractmethod
    def search(
        self, model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, random: SampleRandom
    ) -> Attacked:
        """From clean ``images`` to perturbed ones of their dtype; gradients are not recorded here.

        A search that met numbers that are not finite gives NaN.
        """


def project(perturbed: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """The nearest image within ``epsilon`` of ``images`` and within [0, 1]."""
    return torch.minimum(torch.maximum(perturbed, images - epsilon), images + epsilon).clamp(0, 1)


def without_float16(images: Tensor) -> AbstractContextManager[object]:
    """Autocast off inside if it would lower to float16, whose gradients of images vanish."""
    device = images.device.type
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16:
        return torch.autocast(device, enabled=False)
    return nullcontext()
