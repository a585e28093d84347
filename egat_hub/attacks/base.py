"""The contract of attacks: what they maximize, how they are called and what they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.core.registry import Registry
from egat_hub.models.train_mode import evaluating

if TYPE_CHECKING:
    from egat_hub.attacks.memory import PerturbationMemory

ATTACKS: Registry[type[Attack]] = Registry("attacks")
"""Attacks that evaluation can run."""

TRAINING_ATTACKS: Registry[type[Attack]] = Registry("training_attacks")
"""Attacks that training methods can run."""

Rows = Tensor | slice
"""Positions in the batch [b], or a slice of it."""

ALL = slice(None)

Value = Callable[[Tensor, Rows], Tensor]
"""From logits [b,C] and their rows in the batch to one value per sample [b]."""


class Objective:
    """What an attack maximizes: a function of the logits, summed over samples.

    A subclass overrides :meth:`gradient` where the objective is not a function of the logits.

    Args:
        model: images in [0,1] to logits, in eval mode.
        labels: classes [B].
        value: logits and rows to one value per sample; by default cross-entropy against ``labels``.

    Attributes:
        logits: logits [b,C] at the images of the last gradient.
        finite: whether every gradient so far was finite.
        evaluations: gradients taken so far, counted in images.
    """

    logits: Tensor

    def __init__(self, model: nn.Module, labels: Tensor, value: Value | None = None) -> None:
        self.model = model
        self.labels = labels
        self._value = value
        self.finite: bool | Tensor = True
        self.evaluations = 0

    def gradient(self, images: Tensor, rows: Rows = ALL) -> Tensor:
        """Gradient [b,3,H,W] of the summed objective at ``images``, which are these ``rows`` of the batch."""
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            logits = self.model(images)
            (gradient,) = torch.autograd.grad(self.value(logits, rows).sum(), images)
        return self.record(gradient, logits)

    def record(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """Note a gradient and the logits [b,C] that come with it; every :meth:`gradient` ends here."""
        self.logits = logits.detach()
        self.finite = self.finite & torch.isfinite(gradient).all()  # sign(NaN) is 0, which is no attack
        self.evaluations += len(gradient)
        return gradient

    def value(self, logits: Tensor, rows: Rows) -> Tensor:
        """One value per sample [b] from logits [b,C] and their rows in the batch."""
        if self._value is not None:
            return self._value(logits, rows)
        return F.cross_entropy(logits, self.labels[rows], reduction="none")


EMPTY: Mapping[str, Tensor] = MappingProxyType({})


class AttackResult(NamedTuple):
    """Perturbed images, and what else an attack knows about them.

    Attributes:
        images: perturbed images [B,3,H,W].
        correct_after: for each of the attack's ``parts``, whether an image was still classified correctly
            after it [B].
        flags: for each of the attack's ``checks``, whether an image raised it [B].
        gradients: gradients that were taken, in units of the whole batch.
        perturbation: for attacks in a latent space, the perturbation of the latent.
    """

    images: Tensor
    correct_after: Mapping[str, Tensor] = EMPTY
    flags: Mapping[str, Tensor] = EMPTY
    gradients: float = 0.0
    perturbation: Tensor | None = None


def check_epsilon(epsilon: float) -> None:
    """Raise a ValueError for a budget that is not a number in [0, 1]."""
    if not 0 <= epsilon <= 1:
        raise ValueError(
            f"Expected epsilon in [0, 1] (pixels run from 0 to 1), got {epsilon}; 8/255 is 0.0314."
        )


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A perturbation within an L-infinity ball around images in [0, 1].

    A subclass is a frozen dataclass, whose fields are its options, with one method, :meth:`perturb`. The base
    class owns the rest: the model is in eval mode inside and restored exactly, no parameter's ``.grad`` is
    touched, float16 autocast is off, and the result is detached, finite, within the ball and within [0, 1].

    Attributes:
        space: where the ball lies. Budgets in ``"latent"`` space are reported separately from those in
            ``"pixels"``, which are not bounded then.
        takes_objective: whether the attack can maximize an objective of the caller.
        method_options: fields that a training method sets from its own ``attack_steps`` (here ``steps``),
            ``step_size`` and ``start``.
        variable_cost: whether the number of gradients changes from step to step of a training; it is then
            logged.
    """

    space: ClassVar[Literal["pixels", "latent"]] = "pixels"
    takes_objective: ClassVar[bool] = True
    method_options: ClassVar[tuple[str, ...]] = ()
    variable_cost: ClassVar[bool] = False

    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, **options: Any
    ) -> Tensor:
        """Perturbed images [B,3,H,W]; arguments and errors are those of :meth:`run`."""
        return self.run(model, images, labels, epsilon, **options).images

    @final
    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        epsilon: float,
        *,
        random: SampleRandom | None = None,
        objective: Objective | Value | None = None,
    ) -> AttackResult:
        """Attack a batch; a budget of 0 pixels returns the images alone.

        Args:
            model: images in [0,1] to logits.
            images: clean images [B,3,H,W] in [0,1].
            labels: true classes [B].
            epsilon: radius of the ball, in [0, 1]; in pixel units unless ``space`` is ``"latent"``.
            random: keyed random numbers; by default those of seed 0 and the position in the batch.
            objective: what to maximize; by default cross-entropy against ``labels``.

        Raises:
            ValueError: epsilon outside [0, 1], images that are not floating point, or an objective for an
                attack that has its own.
            FloatingPointError: the model's outputs or gradients are not finite.
        """
        check_epsilon(epsilon)
        if not images.is_floating_point():
            raise ValueError(
                f"Expected floating-point images in [0, 1], got {images.dtype}. Divide 8-bit values by 255."
            )
        if objective is not None and not self.takes_objective:
            raise ValueError(f"{type(self).__name__} maximizes losses of its own. Leave out objective.")
        images, in_pixels = images.detach(), self.space == "pixels"
        if len(images) == 0 or (in_pixels and epsilon == 0):
            return AttackResult(images.clone())
        random = random or SampleRandom.by_position(images)
        with torch.inference_mode(False), evaluating(model), without_float16(images), torch.no_grad():
            images, labels = images.clone(), labels.long().clone()  # autograd refuses inference tensors
            if not isinstance(objective, Objective):
                objective = Objective(model, labels, objective)
            result = self.perturb(objective, images, epsilon, random)
            if isinstance(result, Tensor):
                result = AttackResult(result)
            perturbed = result.images
            if in_pixels:
                radius = min(1.0, self.reach * epsilon)
                perturbed = _round_inwards(project(perturbed, images, radius), images, radius)
            if not (torch.isfinite(perturbed).all() & objective.finite):
                raise FloatingPointError(
                    f"{type(self).__name__} met a gradient that is not finite: the model's parameters or "
                    "outputs are not finite. Lower the learning rate or clip gradients."
                )
        return result._replace(images=perturbed.detach(), gradients=objective.evaluations / len(images))

    def adapted(self, model: nn.Module, images: Tensor) -> Attack:
        """The attack as it runs on a model and images: itself, unless it depends on the number of classes."""
        return self

    def state(self) -> PerturbationMemory | None:
        """What the attack keeps from epoch to epoch; it belongs to the checkpoints of a training method."""
        return None

    @property
    def name(self) -> str:
        """Name in result rows: that of the registry, else of the class."""
        registered = [*ATTACKS.items(), *TRAINING_ATTACKS.items()]
        return next((name for name, cls in registered if cls is type(self)), type(self).__name__.lower())

    def protocol(self) -> dict[str, Any]:
        """The settings that define the attack, as result rows store them."""
        options = {option.name: getattr(self, option.name) for option in fields(self) if option.init}
        return {name: value for name, value in options.items() if value is not None}

    def budget(self, epsilon: float) -> dict[str, Any]:
        """The budget, as result rows store it."""
        if self.space == "pixels":
            return {"epsilon": epsilon}
        return {"budget_space": self.space, f"{self.space}_epsilon": epsilon}

    @property
    def reach(self) -> float:
        """How far a pixel may move, relative to epsilon."""
        return 1.0

    @property
    def passes(self) -> int | None:
        """Forwards and backwards for an image that is never misclassified; None if unknown."""
        return None

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the attacks that this one runs in sequence; none for a single one."""
        return ()

    @property
    def checks(self) -> tuple[str, ...]:
        """Names of the flags that the attack can raise."""
        return ()

    @abstractmethod
    def perturb(
        self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom
    ) -> Tensor | AttackResult:
        """Perturbed images [B,3,H,W], which the base class projects on the ball; autograd is off."""


def project(perturbed: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """The nearest image within ``epsilon`` of ``images`` and, where these are, within [0, 1]."""
    return torch.minimum(torch.maximum(perturbed.clamp(0, 1), images - epsilon), images + epsilon)


def _round_inwards(perturbed: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """In half precision, the neighbours towards ``images`` of values that rounding moved out of the ball."""
    if images.element_size() > 2:
        return perturbed
    outside = (perturbed.float() - images.float()).abs() > epsilon
    return torch.where(outside, torch.nextafter(perturbed, images), perturbed)


def without_float16(images: Tensor) -> AbstractContextManager[object]:
    """Autocast off inside if it would use float16, in which gradients of images vanish."""
    device = images.device.type
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16:
        return torch.autocast(device, enabled=False)
    return nullcontext()
