"""The contract of attacks, and what gradient attacks have in common."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.core.registry import Registry
from egat_hub.models.modes import evaluating

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


REACH = 0.2
"""Part of epsilon below which all steps together are taken for a mistake, as a step in units of pixels is."""


@dataclass(frozen=True, kw_only=True)
class IterativeAttack(GradientAttack):
    """A number of steps of one length, which is relative to epsilon.

    Attributes:
        steps: number of steps T.
        step_size: length of a step relative to epsilon; by default the attack's own share.

    Raises:
        ValueError: less than one step, or a step that is not positive.
    """

    steps: int = 10
    step_size: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"Expected at least 1 step, got {self.steps}.")
        if self.step_size is not None and self.step_size <= 0:
            raise ValueError(f"Expected a positive step_size, got {self.step_size}.")
        reach = self.steps * self.relative_step
        if reach < REACH:
            warnings.warn(
                f"{self.steps} steps of step_size {self.relative_step:g} reach {reach:.0%} of epsilon. It "
                "counts in epsilons: an absolute step, alpha in torchattacks, is step_size x epsilon.",
                stacklevel=3,
            )

    def protocol(self) -> dict[str, Any]:
        return super().protocol() | {"step_size": self.relative_step}

    @property
    def passes(self) -> int:
        return 2 * self.steps

    @property
    def relative_step(self) -> float:
        """Length of a step relative to epsilon."""
        return self.default_step() if self.step_size is None else self.step_size

    @abstractmethod
    def default_step(self) -> float:
        """Length of a step relative to epsilon where none is given."""
