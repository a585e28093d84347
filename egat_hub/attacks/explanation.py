"""Attacks on explanations: the contract and the objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from egat_hub.attacks.base import (
    ALL,
    ATTACKS,
    Attack,
    Objective,
    Rows,
    check_epsilon,
    project,
    without_float16,
)
from egat_hub.core.config import from_dict
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.registry import Registry
from egat_hub.explanations import Explanation, dead
from egat_hub.explanations.similarity import STABILITY
from egat_hub.models import TimmModel
from egat_hub.models.train_mode import evaluating, frozen


class ExplainedBatch(NamedTuple):
    """Predictions and their maps.

    Attributes:
        logits: [B,C].
        classes: [B], the classes that are explained.
        maps: [B,h,w], signed; their positive part is what a user sees.
    """

    logits: Tensor
    classes: Tensor
    maps: Tensor

    @classmethod
    def of(
        cls, model: TimmModel, explanation: Explanation, images: Tensor, classes: Tensor | None = None
    ) -> ExplainedBatch:
        """Explain ``classes`` [B], by default the predicted ones, of ``images`` [B,3,H,W]."""
        view = model.view(images)
        classes = view.logits.argmax(1) if classes is None else classes
        return cls(view.logits, classes, explanation.of(model, view, classes))

    @property
    def alive(self) -> Tensor:
        """Which maps have a positive part, as a boolean [B]."""
        return ~dead(self.maps.relu())

    def where(self, condition: Tensor, other: ExplainedBatch) -> ExplainedBatch:
        """This batch where ``condition`` [B] holds, else the other one."""
        rows = condition[:, None]
        return ExplainedBatch(
            torch.where(rows, self.logits, other.logits),
            torch.where(condition, self.classes, other.classes),
            torch.where(rows[..., None], self.maps, other.maps),
        )


class AttackedMaps(NamedTuple):
    """Perturbed images, verified by a fresh forward.

    Attributes:
        images: [B,3,H,W]; the clean image where the attack found nothing valid.
        clean: predictions and signed maps of the clean images.
        attacked: predictions and signed maps of ``images``.
        same_prediction: [B], whether the prediction is that of the clean image.
        alive: [B], whether neither map is dead. A dead map has no agreement and is no success.
        agreement: for every similarity in :data:`egat_hub.explanations.similarity.STABILITY`, the agreement
            [B] of both maps; NaN where one is dead.
        success: [B], whether prediction and map are as the attack wants them.
    """

    images: Tensor
    clean: ExplainedBatch
    attacked: ExplainedBatch
    same_prediction: Tensor
    alive: Tensor
    agreement: Mapping[str, Tensor]
    success: Tensor


class SmoothReLU(TorchFunctionMode):
    """Replaces ReLU and other piecewise linear activations by softplus inside, without touching modules.

    ``max(x, 0)`` becomes ``log(1 + exp(sharpness x)) / sharpness`` (Dombrowski et al. 2019), which is at most
    ``log(2) / sharpness`` above it and has second derivatives. ReLU6 and hard tanh become differences of two
    of them, leaky ReLU a mixture with x. In-place functions (``torch.relu_``) and max pooling are unchanged.
    """

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.smooth: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
            **dict.fromkeys((F.relu, torch.relu, Tensor.relu), self._relu),
            F.leaky_relu: self._leaky_relu,
            F.hardtanh: self._hardtanh,
            F.relu6: lambda x, inplace=False: self._hardtanh(x, 0.0, 6.0),
        }

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
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
"""Signed maps [B,h,w] to the value to be maximized [B], differentiable."""

FIRST_WEIGHT = 0.05
"""Weight of the prediction's gradient beside the map's until the prediction is lost."""


class MapObjective(Objective):
    """Maximizes a goal on maps under a constraint on the prediction, and keeps the best valid image.

    Where the constraint is violated, a step follows the prediction's gradient alone. Where it holds, a step
    follows the map's gradient plus ``weight`` times the prediction's, both of mean size 1; the weight doubles
    each time that the constraint is lost.

    Args:
        model: the network, in eval mode.
        explanation: signed maps, differentiable with respect to the images.
        images: clean images [B,3,H,W].
        clean: their predictions and maps.
        epsilon: radius of the ball.
        goal: what to maximize.
        flips: whether the prediction must change, rather than stay.
        sharpness: of the softplus that replaces ReLU in gradients, or None.

    Attributes:
        best: [B,3,H,W], the best valid images so far.
        best_goal: [B], the goal there; minus infinity where no image is valid yet.
    """

    def __init__(
        self,
        model: TimmModel,
        explanation: Explanation,
        images: Tensor,
        clean: ExplainedBatch,
        epsilon: float,
        goal: Goal,
        flips: bool,
        sharpness: float | None,
    ) -> None:
        super().__init__(model, clean.classes)
        self.network, self.explanation, self.goal = model, explanation, goal
        self.images, self.clean, self.epsilon = images, clean, epsilon
        self.flips, self.sharpness = flips, sharpness
        self.best = images.clone()
        self.best_goal = torch.full_like(clean.maps[:, 0, 0], -torch.inf)
        self.consider(images, clean)
        self.restart()

    def restart(self) -> None:
        """Begin a new run; the best images stay."""
        self._weight = torch.full_like(self.best_goal, FIRST_WEIGHT)
        self._held = torch.full_like(self.clean.classes, not self.flips, dtype=torch.bool)

    @torch.no_grad()
    def consider(self, perturbed: Tensor, explained: ExplainedBatch) -> Tensor:
        """Keep images that are valid and better; returns whether the constraint on predictions holds [B]."""
        holds = (explained.classes != self.clean.classes) == self.flips
        inside = (project(perturbed, self.images, self.epsilon) == perturbed).flatten(1).all(1)
        valid = holds & inside & self.clean.alive & explained.alive
        goal = torch.where(valid, self.goal(explained.maps), -torch.inf)
        better = goal > self.best_goal
        self.best = torch.where(_column(better), perturbed, self.best)
        self.best_goal = torch.where(better, goal, self.best_goal)
        return holds

    def gradient(self, images: Tensor, rows: Rows = ALL) -> Tensor:
        """Direction [B,3,H,W] of the next step; ``images`` themselves, without softplus, are considered."""
        leaf = images.detach().requires_grad_()
        with frozen(self.network):
            with torch.set_grad_enabled(self.sharpness is None):
                smooth = explained = ExplainedBatch.of(self.network, self.explanation, leaf)
            holds = self.consider(images, explained)
            with torch.enable_grad():
                if self.sharpness is not None:
                    with SmoothReLU(self.sharpness):
                        smooth = ExplainedBatch.of(self.network, self.explanation, leaf, explained.classes)
                error = F.cross_entropy(smooth.logits, self.labels, reduction="sum")
                (by_map,) = torch.autograd.grad(self.goal(smooth.maps).sum(), leaf, retain_graph=True)
                (by_prediction,) = torch.autograd.grad(error if self.flips else -error, leaf)
        self._weight = torch.where(self._held & ~holds, 2 * self._weight, self._weight)
        self._held = holds
        by_map, by_prediction = _unit(by_map), _unit(by_prediction)
        both = by_map + _column(self._weight) * by_prediction
        return self.record(torch.where(_column(holds), both, by_prediction), explained.logits)


def _unit(gradient: Tensor) -> Tensor:
    """Of mean absolute value 1 for every image; zero stays zero."""
    size = gradient.abs().mean((1, 2, 3), keepdim=True)
    return gradient / torch.where(size > 0, size, 1.0)


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]


EXPLANATION_ATTACKS: Registry[type[ExplanationAttack]] = Registry("explanation_attacks")


@dataclass(frozen=True, kw_only=True)
class ExplanationAttack(ABC):
    """A perturbation within an L-infinity ball that changes the map, not only the prediction.

    A gradient attack of :data:`~egat_hub.attacks.ATTACKS` maximizes a goal on the maps; a subclass defines
    the goal. An image is valid if it is within the ball and within [0, 1], its prediction is as required
    (unchanged, or flipped for an attack that preserves the map), and its map is alive. The best valid image
    of all steps and restarts counts; where there is none, the clean image is returned. Images do not
    influence each other.

    Cost of a step: a forward and two backwards to the input for maps on the last features. For maps made of n
    gradients with respect to pixels it is 2 + 5n such passes, and 3 + 7n with ``softplus``.

    Attributes:
        optimizer: name of the gradient attack.
        optimizer_options: its fields.
        restarts: independent runs.
        softplus: sharpness of the softplus that replaces ReLU in gradients where the map itself is a gradient
            (``Explanation.second_order``): second derivatives of ReLU networks are zero. Results are always
            those of the unchanged network. None leaves ReLU in place.
        overlap: share of their top 20 % pixels that two maps must have in common to count as the same.
        flips: whether the attack wants a wrong prediction with the same map, rather than another map with the
            same prediction.
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

    def build_optimizer(self) -> Attack:
        """The gradient attack that maximizes the goal."""
        optimizer = from_dict(ATTACKS[self.optimizer], self.optimizer_options)
        if not optimizer.takes_objective:
            raise ValueError(
                f"Expected an optimizer that takes an objective, such as 'pgd', got {self.optimizer!r}."
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
            explanation: the explanation; its maps are attacked before ReLU and normalization.
            images: clean images [B,3,H,W] in [0,1].
            epsilon: radius of the ball in pixel units, in [0, 1].
            random: keyed random numbers; restart r draws from r steps later.
        """
        check_epsilon(epsilon)
        explanation.check(model)
        explanation = replace(explanation, head_grad=True, relu=False, normalize="none")
        random = random or SampleRandom.by_position(images)
        with torch.inference_mode(False), torch.no_grad(), evaluating(model), without_float16(images):
            images = images.detach().clone()
            clean = ExplainedBatch.of(model, explanation, images)
            objective = MapObjective(
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
                objective.restart()
                draws = replace(random, step=random.step + restart)
                optimizer = self.build_optimizer()
                last = optimizer(model, images, clean.classes, epsilon, random=draws, objective=objective)
                objective.consider(last, ExplainedBatch.of(model, explanation, last))
            return self._verify(model, explanation, images, clean, objective.best)

    def protocol(self, explanation: Explanation) -> dict[str, Any]:
        """The settings that define the attack on ``explanation``, as result rows store them."""
        settings = {key: value for key, value in asdict(self).items() if not key.startswith("optimizer")}
        if not explanation.second_order:
            del settings["softplus"]
        return {"optimizer": self.optimizer, **self.build_optimizer().protocol(), **settings}

    @abstractmethod
    def goal(self, maps: Tensor, size: tuple[int, ...]) -> Goal:
        """What the attack maximizes, for signed maps [B,h,w] of clean images of ``size`` (H, W)."""

    def _verify(
        self, model: TimmModel, explanation: Explanation, images: Tensor, clean: ExplainedBatch, best: Tensor
    ) -> AttackedMaps:
        """Explain the images found once more, and fall back to the clean image where one is not valid."""
        attacked = ExplainedBatch.of(model, explanation, best)
        holds = ((attacked.classes != clean.classes) == self.flips) & attacked.alive
        best, attacked = torch.where(_column(holds), best, images), attacked.where(holds, clean)
        same_prediction, alive = attacked.classes == clean.classes, clean.alive & attacked.alive
        agreement = {
            name: torch.where(alive, measure(clean.maps, attacked.maps, tuple(images.shape[-2:])), torch.nan)
            for name, measure in STABILITY.items()
        }
        same_map = agreement["topk_overlap"] >= self.overlap
        success = alive & (same_prediction != self.flips) & (same_map == self.flips)
        return AttackedMaps(best, clean, attacked, same_prediction, alive, agreement, success)
