"""Empirical risk minimisation."""

from __future__ import annotations

from torch import Tensor

from egat_hub.methods.base import METHODS, Batch, Method


@METHODS.register("erm")
class ERM(Method):
    """``CE(f(x), y)``. Cost: one forward, one backward."""

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self.plain(batch)
