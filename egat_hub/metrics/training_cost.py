"""Compute cost of a training step, in forward-equivalents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor

from egat_hub.core.metric import Metric, Section, register
from egat_hub.methods.base import Method
from egat_hub.models import TimmModel

_cost = partial(Metric, section=Section("Cost of training"), digits=0, table="results")
register(
    _cost(
        name="step_cost",
        title="cost/step",
        about="compute of a training step in forward passes of a batch; a backward pass to the input counts "
        "1, to the weights 2, through a backward pass 4",
    ),
    _cost(name="training_seconds", title="train s", about="wall time of the training steps in seconds"),
)


@dataclass
class Passes:
    """Number of passes of images, or of whole batches, through a network.

    ``attack_gradients`` are gradients of the training attack if their number varies between steps, else 0.
    """

    forward: float = 0.0
    to_input: float = 0.0
    to_weights: float = 0.0
    through_backward: float = 0.0
    attack_gradients: float = 0.0

    @property
    def units(self) -> float:
        """Cost in forward-equivalents.

        A forward or a backward to the input counts 1, a backward to the weights 2, a double backward 4.
        """
        return self.forward + self.to_input + 2 * self.to_weights + 4 * self.through_backward


@contextmanager
def counted(model: TimmModel, batch_size: int = 1) -> Iterator[Passes]:
    """Count passes of ``batch_size`` images through a network's features, not its head or other networks."""
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


def count_passes(method: Method, images: Tensor, labels: Tensor, *, mask: Tensor | None = None) -> Passes:
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
    passes.attack_gradients = float(result["metrics"].get("attack_gradients", 0.0))
    return passes
