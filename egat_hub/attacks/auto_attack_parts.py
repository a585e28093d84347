"""The attacks of AutoAttack, and the checks that go with them."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from egat_hub.core.randomness import SampleRandom, derive_seed

RANDOMNESS = "randomness"
PROBABILITIES = "probability_outputs"
INNER_GRADIENT = "gradient_in_forward"
ZERO_GRADIENT = "zero_margin_gradient"

CHECKS = (RANDOMNESS, PROBABILITIES, INNER_GRADIENT, ZERO_GRADIENT)


def model_flags(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """For each of ``CHECKS``, whether an image raises it [B].

    - ``randomness``: the logits of two forwards differ;
    - ``probability_outputs``: the logits are positive and sum to 1, so a softmax is part of the model;
    - ``gradient_in_forward``: the model takes gradients in its forward, as defences that optimize do;
    - ``zero_margin_gradient``: the margin between the best other class and the true one has an input gradient
      of exact zeros.

    Cost: two forwards, one backward.

    Args:
        model: images in [0,1] to logits, in eval mode.
        images: [B,3,H,W] in [0,1].
        labels: true classes [B].
    """
    with torch.enable_grad():
        pixels = images.detach().requires_grad_()
        logits = model(pixels)
        (gradient,) = torch.autograd.grad(margin(logits, labels).sum(), pixels)
    calls = _GradientCalls()
    with calls:
        again = model(images)
    logits = logits.detach().float()
    sums = (logits.sum(1) - 1).abs() < 1e-5
    return {
        RANDOMNESS: differ(logits, again.float()),
        PROBABILITIES: sums & (logits > -1e-5).all(1) & (logits < 1 + 1e-5).all(1),
        INNER_GRADIENT: torch.full(labels.shape, calls.seen, device=images.device),
        ZERO_GRADIENT: (gradient.flatten(1) == 0).all(1),
    }


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the best other class minus that of the true one [B]; positive where the model is wrong."""
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return others - logits.gather(1, labels[:, None])[:, 0]


def differ(first: Tensor, second: Tensor) -> Tensor:
    """Whether logits of the same image [B,C] differ by more than rounding, relative to their length [B]."""
    distance = (first - second).norm(dim=1)
    return distance > 1e-4 * first.norm(dim=1).clamp_min(1e-10)


class _GradientCalls(TorchFunctionMode):
    """Records whether anything inside takes a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.seen |= func in (torch.autograd.grad, torch.autograd.backward, Tensor.backward)
        return func(*args, **(kwargs or {}))


SILENT = logging.Logger("pyautoattack", level=logging.CRITICAL + 1)


class FP32Model:
    """A model as pyautoattack calls it: float32 in and out, any batch size.

    Attributes:
        finite: whether every gradient so far was finite.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, classes: int, device: torch.device) -> None:
        self.finite = torch.ones((), dtype=torch.bool, device=device)
        self._model, self._dtype, self._classes = model, dtype, classes

    def __call__(self, images: Tensor) -> Tensor:
        if len(images) == 0:
            return images.new_zeros(0, self._classes)
        if images.requires_grad:
            images = images.view_as(images)
            images.register_hook(self._check)
        return self._model(images.to(self._dtype)).float()

    def _check(self, gradient: Tensor) -> None:
        self.finite = self.finite & torch.isfinite(gradient).all()


@dataclass(frozen=True, kw_only=True)
class Part(ABC):
    """An attack of the ensemble.

    Attributes:
        name: name in result rows.
        runs: how often it is run, with other random starts or towards other classes.
    """

    name: str
    runs: int = 1

    @property
    @abstractmethod
    def passes(self) -> int:
        """Forwards and backwards of a run for an image that is never misclassified."""

    @abstractmethod
    def attempt(
        self, run: int, model: FP32Model, images: Tensor, labels: Tensor, epsilon: float, random: SampleRandom
    ) -> Tensor:
        """Perturbed images, not necessarily within the ball, of correctly classified ones.

        Args:
            run: number of the run, from 0.
            model: the model to attack.
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
        self, run: int, model: FP32Model, images: Tensor, labels: Tensor, epsilon: float, random: SampleRandom
    ) -> Tensor:
        from pyautoattack.autopgd_base import APGDAttack_targeted

        attack = APGDAttack_targeted(
            model,
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
            others = model(images).scatter(1, labels[:, None], -torch.inf)
            attack.y_target = others.topk(run + 1).indices[:, run]
        shift = random.uniform(images, -1, 1, f"{self.name} {run}")
        start = images + epsilon * shift / shift.abs().amax((1, 2, 3), keepdim=True)
        best, robust, _, adversarial = attack.attack_single_run(images, labels, start)
        return torch.where(robust.bool()[:, None, None, None], best, adversarial)


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
        self, run: int, model: FP32Model, images: Tensor, labels: Tensor, epsilon: float, random: SampleRandom
    ) -> Tensor:
        from pyautoattack.fab_pt import FABAttack_PT

        attack = FABAttack_PT(model, n_iter=self.iterations, eps=epsilon, device=images.device)
        attack.target_class = run + 2
        return attack.attack_single_run(images, labels, is_targeted=True)


@dataclass(frozen=True, kw_only=True)
class Square(Part):
    """Square attack (Andriushchenko et al. 2020): random search over squares, by the margin alone.

    Every image starts with stripes of its own; squares are the same for all images.

    Attributes:
        queries: squares that are tried.
    """

    queries: int

    @property
    def passes(self) -> int:
        return self.queries + 1

    def attempt(
        self, run: int, model: FP32Model, images: Tensor, labels: Tensor, epsilon: float, random: SampleRandom
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
            model, n_queries=self.queries, eps=epsilon, resc_schedule=False, device=images.device
        )
        attack.init_hyperparam(images)
        attack.random_choice, attack.random_int = signs, integer
        return attack.attack_single_run(images, labels)[1]
