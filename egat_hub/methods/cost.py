"""What a training step costs, in passes through the network."""

from __future__ import annotations

from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor

from egat_hub.methods.base import Method

STEP = 10_000
"""A step after every warm-up."""


@dataclass
class Passes:
    """Passes of a whole batch through the network in one training step.

    ``attack_gradients`` of them belong to a training attack whose number of gradients changes from step to
    step.
    """

    forward: float = 0.0
    to_input: float = 0.0
    to_weights: float = 0.0
    through_backward: float = 0.0
    attack_gradients: float = 0.0

    @property
    def units(self) -> float:
        """All of them, a forward being one.

        A backward to the input costs as much, one to the weights twice as much, for it passes through the
        network too, and a backward through a backward four times as much, for it goes back through both.
        """
        return self.forward + self.to_input + 2 * self.to_weights + 4 * self.through_backward


def count_passes(method: Method, images: Tensor, labels: Tensor, *, mask: Tensor | None = None) -> Passes:
    """Run one step, past every warm-up, and count. What the head and further networks do is not counted.

    Args:
        method: training method in train mode; its running statistics move as in any step.
        images: [B,3,H,W] in [0,1].
        labels: classes [B].
        mask: object masks [B,1,H,W], for methods that need them.
    """
    passes, features = Passes(), method.backbone.features

    def counting(batch: Tensor) -> Tensor:
        share = len(batch) / len(images)
        passes.forward += share
        out = features(batch)
        if out.requires_grad:
            frozen = not any(p.requires_grad for p in method.backbone.parameters())
            kinds = iter(("to_input" if batch.requires_grad or frozen else "to_weights", "through_backward"))

            def passed(_: Tensor) -> None:
                kind = next(kinds)
                setattr(passes, kind, getattr(passes, kind) + share)

            out.register_hook(passed)
        return out.view_as(out)  # explanations that ask for gradients here stop before the hook

    with patch.object(method.backbone, "features", counting):
        result = method(images, labels, step=STEP, mask=mask, index=torch.arange(len(images)))
        result["loss"].backward()
    method.zero_grad()
    passes.attack_gradients = float(result["figures"].get("attack_gradients", 0.0))
    return passes
