"""Finer-CAM: Grad-CAM of what sets a class apart from the classes most like it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from egat_hub.backbone import Backbone, View
from egat_hub.explanations.base import EXPLANATIONS
from egat_hub.explanations.grad_cam import GradCAM


@EXPLANATIONS.register("finer_cam")
@dataclass(frozen=True, kw_only=True)
class FinerCAM(GradCAM):
    """Grad-CAM of ``sum_i p_i (f_n - alpha f_i) / sum_i p_i`` (Zhang et al., CVPR 2025).

    The classes i are those whose logits f_i are nearest to f_n, p_i their probabilities. The map is that of a
    linear combination of logits whose weights are this scalar's own slopes, so it costs what Grad-CAM costs.
    With ``head_grad=False`` those weights are constants.

    Attributes:
        alpha: how much of a similar class is taken off.
        references: number of similar classes; fewer where there are not as many.

    Raises:
        ValueError: no reference.
    """

    alpha: float = 1.0
    references: int = 3

    def __post_init__(self) -> None:
        if self.references < 1:
            raise ValueError(f"Expected at least 1 reference class, got {self.references}.")

    def raw(self, backbone: Backbone, view: View, target: Tensor) -> Tensor:
        logits = backbone.without_dropout(view).to(torch.promote_types(view.logits.dtype, torch.float32))
        weights = torch.func.grad(lambda z: self._margin(z, target.to(z.dtype)).sum())(logits)
        return super().raw(backbone, view, weights if self.head_grad else weights.detach())

    def _margin(self, logits: Tensor, target: Tensor) -> Tensor:
        """What sets the target [B,C] apart, for every image [B]."""
        own = (target * logits).sum(1, keepdim=True)
        distance = (logits - own).abs().masked_fill(target > 0, torch.inf)
        others = min(self.references, int((target == 0).sum(1).min()))
        near = distance.argsort(dim=1, stable=True)[:, :others]
        share = logits.softmax(1).gather(1, near)
        return (share * (own - self.alpha * logits.gather(1, near))).sum(1) / (share.sum(1) + 1e-9)
