"""Attacks on explanations: the contract and the search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from egat_hub.attacks.base import ATTACKS, check_epsilon, project, without_float16
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.registry import Registry
from egat_hub.explanations import Explanation, dead
from egat_hub.explanations.similarity import STABILITY
from egat_hub.models import TimmModel
from egat_hub.models.modes import evaluating, frozen


class Look(NamedTuple):
    """Predictions and their maps.

    Attributes:
        logits: [B,C].
        predicted: [B], the class of the highest logit, or the one that was asked for.
        maps: [B,h,w], signed, of that class; their positive part is what is shown.
    """

    logits: Tensor
    predicted: Tensor
    maps: Tensor

    @classmethod
    def at(
        cls, model: TimmModel, explanation: Explanation, images: Tensor, classes: Tensor | None = None
    ) -> Look:
        """Look at ``images`` [B,3,H,W]; maps are those of ``classes`` [B], by default of the predicted ones.

        Cost: one forward and one explanation.
        """
        view = model.view(images)
        predicted = view.logits.argmax(1) if classes is None else classes
        return cls(view.logits, predicted, explanation.of(model, view, predicted))

    @property
    def alive(self) -> Tensor:
        """Which maps show anything at all, as a boolean [B]."""
        return ~dead(self.maps.relu())

    def where(self, condition: Tensor, other: Look) -> Look:
        """This look where ``condition`` [B] holds, else the other one."""
        parts = [
            torch.where(condition.view(-1, *[1] * (mine.ndim - 1)), mine, theirs)
            for mine, theirs in zip(self, other, strict=True)
        ]
        return Look(*parts)


class AttackedMaps(NamedTuple):
    """Perturbed images, and what a fresh forward on them shows.

    Attributes:
        images: [B,3,H,W]; where nothing that counts was found, the clean image.
        clean: predictions and signed maps of the clean images.
        shown: predictions and signed maps of ``images``, each map that of the class predicted there.
        kept: [B], whether the prediction is that of the clean image.
        alive: [B], whether neither map is dead. What is not alive has no agreement and is no success.
        agreement: by the name of every measure of :data:`egat_hub.metrics.STABILITY`, the agreement [B] of
            both maps; NaN where one is dead.
        success: [B], whether the attack reached what it wants of prediction and map.
    """

    images: Tensor
    clean: Look
    shown: Look
    kept: Tensor
    alive: Tensor
    agreement: Mapping[str, Tensor]
    success: Tensor


class SmoothReLU(TorchFunctionMode):
    """Inside, ReLU and its piecewise linear kin are made of softplus; no module is touched.

    ``max(x, 0)`` becomes ``log(1 + exp(sharpness x)) / sharpness`` (Dombrowski et al. 2019), which is at most
    ``log(2) / sharpness`` above it and has second derivatives where ReLU has none. ReLU6 and hard tanh are
    differences of two of them, leaky ReLU a mixture with x. In-place calls by function (``torch.relu_``) and
    max pooling stay what they are.

    Args:
        sharpness: how closely ReLU is followed.
    """

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.smooth: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
            F.relu: self._relu,
            torch.relu: self._relu,
            Tensor.relu: self._relu,
            F.leaky_relu: self._leaky_relu,
            F.hardtanh: self._hardtanh,
            F.relu6: lambda x, inplace=False: self._hardtanh(x, 0.0, 6.0),
        }

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.smooth.get(func, func)(*args, **(kwargs or {}))

    def _relu(self, x: Tensor, inplace: bool = False) -> Tensor:
        return F.softplus(x, self.sharpness)

    def _leaky_relu(self, x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
        return negative_slope * x + (1 - negative_slope) * self._relu(x)

    def _hardtanh(
        self, x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
    ) -> Tensor:
        return min_val + self._relu(x - min_val) - self._relu(x - max_val)


Goal = Callable[[Tensor], Tensor]
"""Signed maps [B,h,w] to what is wanted of them [B], the higher the better, differentiable."""

FIRST_WEIGHT = 0.05
"""Weight of the prediction's gradient beside the map's until the prediction was lost."""


@dataclass(eq=False)
class Search:
    """Ascends a goal on maps, and remembers the best image at which the prediction is as it has to be.

    Where the prediction is not as it has to be, a step follows the prediction's gradient alone. Where it is,
    a step follows the map's gradient plus ``weight`` times the prediction's, both of mean size 1; the weight
    doubles each time that the prediction is lost. Images do not influence each other.

    Attributes:
        model: the network, in eval mode.
        explanation: signed maps, differentiable by the images.
        images: clean images [B,3,H,W].
        clean: what they show.
        epsilon: radius of the ball.
        goal: what is wanted of the maps.
        flips: whether the prediction has to change rather than to stay.
        sharpness: of the softplus that gives the gradients in place of ReLU, or None.
        best: [B,3,H,W], the best images found.
        value: [B], the goal there; minus infinity where no image counts yet.
    """

    model: TimmModel
    explanation: Explanation
    images: Tensor
    clean: Look
    epsilon: float
    goal: Goal
    flips: bool
    sharpness: float | None
    best: Tensor = field(init=False)
    value: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.best = self.images.clone()
        self.value = torch.full_like(self.clean.maps[:, 0, 0], -torch.inf)
        self.offer(self.images, self.clean)
        self.restart()

    def restart(self) -> None:
        """Forget the way so far, but not the best on it."""
        self._weight = torch.full_like(self.value, FIRST_WEIGHT)
        self._held = torch.full_like(self.clean.predicted, not self.flips, dtype=torch.bool)

    @torch.no_grad()
    def offer(self, perturbed: Tensor, shown: Look) -> Tensor:
        """Take over what counts and is better; whether the predictions are as they have to be, [B]."""
        holds = (shown.predicted != self.clean.predicted) == self.flips
        inside = (project(perturbed, self.images, self.epsilon) == perturbed).flatten(1).all(1)
        counts = holds & inside & self.clean.alive & shown.alive
        value = torch.where(counts, self.goal(shown.maps), -torch.inf)
        better = value > self.value
        self.best = torch.where(_column(better), perturbed, self.best)
        self.value = torch.where(better, value, self.value)
        return holds

    def gradient(self, perturbed: Tensor) -> Tensor:
        """Direction [B,3,H,W] of the next step; what ``perturbed`` shows, without softplus, is offered."""
        leaf = perturbed.detach().requires_grad_()
        with frozen(self.model):
            with torch.set_grad_enabled(self.sharpness is None):
                look = shown = Look.at(self.model, self.explanation, leaf)
            holds = self.offer(perturbed, shown)
            with torch.enable_grad():
                if self.sharpness is not None:
                    with SmoothReLU(self.sharpness):
                        look = Look.at(self.model, self.explanation, leaf, shown.predicted)
                error = F.cross_entropy(look.logits, self.clean.predicted, reduction="sum")
                (by_map,) = torch.autograd.grad(self.goal(look.maps).sum(), leaf, retain_graph=True)
                (by_prediction,) = torch.autograd.grad(error if self.flips else -error, leaf)
        self._weight = torch.where(self._held & ~holds, 2 * self._weight, self._weight)
        self._held = holds
        by_map, by_prediction = _unit(by_map), _unit(by_prediction)
        both = by_map + _column(self._weight) * by_prediction
        return torch.where(_column(holds), both, by_prediction)


def _unit(slope: Tensor) -> Tensor:
    """Of mean absolute value 1 for every image; zero stays zero."""
    size = slope.abs().mean((1, 2, 3), keepdim=True)
    return slope / torch.where(size > 0, size, 1.0)


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]


EXPLANATION_ATTACKS: Registry[type[ExplanationAttack]] = Registry("explanation_attacks")


@dataclass(frozen=True, kw_only=True)
class ExplanationAttack(ABC):
    """A perturbation within an L-infinity ball that is after the map, not only after the prediction.

    The base class owns the contract; a subclass says what it wants of the maps. An image counts only if it is
    within the ball and within [0, 1], its prediction is as it has to be (unchanged, or flipped for an attack
    that keeps the map), and its map is alive. Of all images on the way of the optimiser and of all restarts,
    the best that counts is kept; where none does, the clean image is given back. Images do not influence
    each other.

    Cost of a step: a forward and two backwards to the input for maps on the last features. For maps made of n
    gradients by pixels it is 2 + 5n such passes, and 3 + 7n with ``softplus``.

    Attributes:
        optimizer: name of a gradient-based attack whose steps are taken.
        optimizer_options: its fields.
        restarts: independent runs.
        softplus: sharpness of the softplus that replaces ReLU in gradients where the map itself is a gradient
            (``Explanation.second_order``): second derivatives of ReLU networks are zero. What counts and what
            is reported is that of the network as it is. None leaves ReLU in place.
        overlap: share of their top 20 % pixels that two maps have to have in common to count as the same.
        flips: whether the attack is after a wrong prediction with the same map, rather than after another map
            with the same prediction.

    Raises:
        ValueError: no restart, a softplus that is not positive, an overlap outside (0, 1), or an optimiser
            that takes no gradient.
    """

    flips: ClassVar[bool] = False

    optimizer: str = "pgd"
    optimizer_options: dict[str, Any] = field(default_factory=lambda: {"steps": 50})
    restarts: int = 1
    softplus: float | None = 10.0
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if self.restarts < 1:
            raise ValueError(f"Expected at least 1 restart, got {self.restarts}.")
        if self.softplus is not None and not self.softplus > 0:
            raise ValueError(f"Expected a positive softplus, or None for ReLU, got {self.softplus}.")
        if not 0 < self.overlap < 1:
            raise ValueError(f"Expected overlap in (0, 1), a share of pixels, got {self.overlap}.")
        self.build_optimizer()

    def build_optimizer(self) -> Any:
        """The gradient-based attack whose steps are taken."""
        optimizer: Any = ATTACKS[self.optimizer](**self.optimizer_options)
        if not hasattr(optimizer, "ascend"):
            raise ValueError(
                f"Expected an optimizer that follows gradients, such as 'pgd', got {self.optimizer!r}."
            )
        return optimizer

    @final
    def __call__(
        self,
        model: TimmModel,
        explanation: Explanation,
        images: Tensor,
        epsilon: float,
        *,
        random: SampleRandom | None = None,
    ) -> AttackedMaps:
        """Attack the maps of the predicted classes.

        Args:
            model: the network that is explained.
            explanation: how; its maps are attacked before ReLU and normalisation.
            images: clean images [B,3,H,W] in [0,1].
            epsilon: radius of the ball in pixel units, in [0, 1].
            random: keyed random numbers; restart r draws from r steps later.

        Raises:
            ValueError: epsilon outside [0, 1], or a network that cannot be explained in this way.
            FloatingPointError: a gradient is not finite.
        """
        check_epsilon(epsilon)
        explanation.check(model)
        explanation = replace(explanation, head_grad=True, relu=False, normalize="none")
        random = random or SampleRandom.by_position(images)
        with torch.inference_mode(False), torch.no_grad(), evaluating(model), without_float16(images):
            images = images.detach().clone()
            clean = Look.at(model, explanation, images)
            search = Search(
                model,
                explanation,
                images,
                clean,
                epsilon,
                self.goal(clean.maps, tuple(images.shape[-2:])),
                self.flips,
                self.softplus if explanation.second_order else None,
            )
            for restart in range(self.restarts):
                search.restart()
                draws = replace(random, step=random.step + restart)
                last = self.build_optimizer().ascend(search.gradient, model, images, epsilon, random=draws)
                search.offer(last, Look.at(model, explanation, last))
            return self._judge(model, explanation, images, clean, search.best)

    def protocol(self, explanation: Explanation) -> dict[str, Any]:
        """The settings that define the attack on ``explanation``, as result rows note them."""
        settings = {key: value for key, value in asdict(self).items() if not key.startswith("optimizer")}
        if not explanation.second_order:
            del settings["softplus"]
        return {"optimizer": self.optimizer, **self.build_optimizer().protocol(), **settings}

    @abstractmethod
    def goal(self, maps: Tensor, size: tuple[int, ...]) -> Goal:
        """What the attack wants.

        Args:
            maps: signed maps [B,h,w] of the clean images.
            size: of the images (H, W).

        Returns:
            A function of signed maps [B,h,w] that is ascended, image by image.
        """

    def _judge(
        self, model: TimmModel, explanation: Explanation, images: Tensor, clean: Look, best: Tensor
    ) -> AttackedMaps:
        """A fresh look at what was found; what does not hold there is given up for the clean image."""
        shown = Look.at(model, explanation, best)
        holds = ((shown.predicted != clean.predicted) == self.flips) & shown.alive
        best, shown = torch.where(holds[:, None, None, None], best, images), shown.where(holds, clean)
        kept, alive = shown.predicted == clean.predicted, clean.alive & shown.alive
        agreement = {
            name: torch.where(alive, measure(clean.maps, shown.maps, tuple(images.shape[-2:])), torch.nan)
            for name, measure in STABILITY.items()
        }
        same = agreement["topk_overlap"] >= self.overlap
        success = alive & (kept != self.flips) & (same == self.flips)
        return AttackedMaps(best, clean, shown, kept, alive, agreement, success)
