"""What a training step costs, in passes through the network."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from egat_hub.methods.base import Method
from egat_hub.passes import Passes, counted

STEP = 10_000
"""A step after every warm-up."""


class StepCost(NamedTuple):
    """What a step took.

    Attributes:
        passes: of the whole batch.
        attack_gradients: gradients that a training attack asked for, if their number changes from step to
            step, else 0.
    """

    passes: Passes
    attack_gradients: float


def count_passes(method: Method, images: Tensor, labels: Tensor, *, mask: Tensor | None = None) -> Passes:
    """The passes of :func:`step_cost`."""
    return step_cost(method, images, labels, mask=mask).passes


def step_cost(method: Method, images: Tensor, labels: Tensor, *, mask: Tensor | None = None) -> StepCost:
    """Run one step, past every warm-up, and count. What the head and further networks do is not counted.

    Args:
        method: training method in train mode; its running statistics move as in any step.
        images: [B,3,H,W] in [0,1].
        labels: classes [B].
        mask: object masks [B,1,H,W], for methods that need them.
    """
    index = torch.arange(len(images))
    with counted(method.backbone, len(images)) as passes:
        result = method(images, labels, step=STEP, mask=mask, index=index)
        result["loss"].backward()
    method.zero_grad()
    return StepCost(passes, float(result["figures"].get("attack_gradients", 0.0)))
