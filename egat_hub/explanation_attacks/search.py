"""The way uphill on a map, with a prediction that has to be kept or flipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.attacks.base import project
from egat_hub.backbone import Backbone
from egat_hub.explanation_attacks.look import Look
from egat_hub.explanation_attacks.smooth_relu import SmoothReLU
from egat_hub.explanations import Explanation
from egat_hub.modes import frozen

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
        backbone: the network, in eval mode.
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

    backbone: Backbone
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
        with frozen(self.backbone):
            with torch.set_grad_enabled(self.sharpness is None):
                look = shown = Look.at(self.backbone, self.explanation, leaf)
            holds = self.offer(perturbed, shown)
            with torch.enable_grad():
                if self.sharpness is not None:
                    with SmoothReLU(self.sharpness):
                        look = Look.at(self.backbone, self.explanation, leaf, shown.predicted)
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
