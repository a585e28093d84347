"""Compute cost of a training step, in forward-equivalents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from egat_hub.core.metric import Metric, Section, register
from egat_hub.methods.base import Method
from egat_hub.models import TimmModel

COST = Section("Cost of training")
register(
    Metric(
        name="step_cost",
        title="cost/step",
        about="compute of a training step in forward passes of a batch; a backward pass to the input counts "
        "1, to the weights 2, through a backward pass 4",
        section=COST,
        digits=0,
        table="results",
    ),
    Metric(
        name="training_seconds",
        title="train s",
        about="wall time of the training steps in seconds",
        section=COST,
        digits=0,
        table="results",
    ),
)


@dataclass
class Passes:
    """Number of passes of images, or of whole batches, through a network."""

    forward: float = 0.0
    to_input: float = 0.0
    to_weights: float = 0.0
    through_backward: float = 0.0

    @property
    def units(self) -> float:
        """Cost in forward-equivalents.

        A forward or a backward to the input counts 1, a backward to the weights 2, a double backward 4.
        """
        return self.forward + self.to_input + 2 * self.to_weights + 4 * self.through_backward


@contextmanager
def counted(model: TimmModel, batch_size: int = 1) -> Iterator[Passes]:
    """Count passes through a network's features. The head and other networks are not counted.

    Args:
        model: the network.
        batch_size: number of images that count as one pass.
    """
    passes, features = Passes(), model.features

    def counting(batch: Tensor) -> Tensor:
        share = len(batch) / batch_size
        passes.forward += share
        out = features(batch)
        if out.requires_grad:
            frozen = not any(p.requires_grad for p in model.parameters())
            kinds = iter(("to_input" if batch.requires_grad or frozen else "to_weights", "through_backward"))

            def passed(_: Tensor) -> None:
                kind = next(kinds)
                setattr(passes, kind, getattr(passes, kind) + share)

            out.register_hook(passed)
        return out.view_as(out)  # explanations that ask for gradients here stop before the hook

    def forward(images: Tensor) -> Tensor:
        return model.head(counting(images))

    with patch.object(model, "features", counting), patch.object(model, "forward", forward):
        yield passes


STEP = 10_000
"""A training step after every warm-up."""


class StepCost(NamedTuple):
    """Cost of a training step.

    Attributes:
        passes: of the whole batch.
        attack_gradients: gradients of the training attack if their number varies between steps, else 0.
    """

    passes: Passes
    attack_gradients: float


def count_passes(method: Method, images: Tensor, labels: Tensor, *, mask: Tensor | None = None) -> Passes:
    """Passes of a training step; see :func:`step_cost`."""
    return step_cost(method, images, labels, mask=mask).passes


def step_cost(method: Method, images: Tensor, labels: Tensor, *, mask: Tensor | None = None) -> StepCost:
    """Run one training step after all warm-ups and count its passes; see :func:`counted`.

    Args:
        method: training method in train mode; its running statistics change as in any step.
        images: [B,3,H,W] in [0,1].
        labels: classes [B].
        mask: object masks [B,1,H,W], for methods that need them.
    """
    index = torch.arange(len(images))
    with counted(method.model, len(images)) as passes:
        result = method(images, labels, step=STEP, mask=mask, index=index)
        result["loss"].backward()
    method.zero_grad()
    return StepCost(passes, float(result["metrics"].get("attack_gradients", 0.0)))
