"""Passes through a network, counted where they happen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from torch import Tensor

from egat_hub.backbone import Backbone


@dataclass
class Passes:
    """Passes of images, or of whole batches, through a network."""

    forward: float = 0.0
    to_input: float = 0.0
    to_weights: float = 0.0
    through_backward: float = 0.0

    @property
    def units(self) -> float:
        """All of them, a forward being one.

        A backward to the input costs as much, one to the weights twice as much, for it passes through the
        network too, and a backward through a backward four times as much, for it goes back through both.
        """
        return self.forward + self.to_input + 2 * self.to_weights + 4 * self.through_backward


@contextmanager
def counted(backbone: Backbone, batch_size: int = 1) -> Iterator[Passes]:
    """Count what goes through a network inside. What the head and further networks do is not counted.

    Args:
        backbone: the network.
        batch_size: images that count as one.
    """
    passes, features = Passes(), backbone.features

    def counting(batch: Tensor) -> Tensor:
        share = len(batch) / batch_size
        passes.forward += share
        out = features(batch)
        if out.requires_grad:
            frozen = not any(p.requires_grad for p in backbone.parameters())
            kinds = iter(("to_input" if batch.requires_grad or frozen else "to_weights", "through_backward"))

            def passed(_: Tensor) -> None:
                kind = next(kinds)
                setattr(passes, kind, getattr(passes, kind) + share)

            out.register_hook(passed)
        return out.view_as(out)  # explanations that ask for gradients here stop before the hook

    with patch.object(backbone, "features", counting):
        yield passes
