"""Class activation maps: Grad-CAM and Finer-CAM."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from egat_hub.explanations.base import EXPLANATIONS, Explanation
from egat_hub.models import TimmModel
from egat_hub.models.timm_model import View
from egat_hub.models.train_mode import twice_differentiable


@EXPLANATIONS.register("grad_cam")
@dataclass(frozen=True, kw_only=True)
class GradCAM(Explanation):
    """``s = sum_k alpha_k A_k`` with ``alpha_k = mean_ij d logit / d A_kij`` (Selvaraju et al. 2017).

    For a pooled-linear head, ``alpha_k`` is the head's weight divided by the number of positions. Any other
    head is differentiated by itself, never the rest of the network. Dropout in the head is left out.
    """

    def raw(self, model: TimmModel, view: View, target: Tensor) -> Tensor:
        features = view.features.to(model.mean.dtype)  # the type of the head: autocast may have lowered it
        precision = torch.promote_types(features.dtype, torch.float32)
        alpha = self._channel_weights(model, features, target.to(precision)).to(precision)
        return (alpha[:, :, None, None] * model.grid(features).to(precision)).sum(1)

    def check(self, model: TimmModel) -> None:
        if model.head_form == "independent":
            raise ValueError(
                f"The logits of {model.architecture} do not depend on its last spatial features, so "
                f"Grad-CAM is not defined there, nor anywhere inside: {model.obstacle}. Create the "
                "network with global_pool='avg'."
            )

    def _channel_weights(self, model: TimmModel, features: Tensor, target: Tensor) -> Tensor:
        if model.head_form == "pooled_linear":
            weight = model.classifier.weight
            positions = model.grid(features)[0, 0].numel()
            return target @ (weight if self.head_grad else weight.detach()).to(target.dtype) / positions
        self.check(model)
        keep_graph = self.head_grad and torch.is_grad_enabled()
        with torch.enable_grad(), twice_differentiable(keep_graph):
            if not features.requires_grad:
                features = features.detach().requires_grad_()
            logits = model.head(features, dropout=False)
            (gradient,) = torch.autograd.grad(
                logits, features, target.to(logits.dtype), create_graph=keep_graph
            )
        return model.grid(gradient).mean((2, 3))


@EXPLANATIONS.register("finer_cam")
@dataclass(frozen=True, kw_only=True)
class FinerCAM(GradCAM):
    """Grad-CAM of ``sum_i p_i (f_n - alpha f_i) / sum_i p_i`` (Zhang et al., CVPR 2025).

    The classes i are those whose logits f_i are nearest to f_n, p_i their probabilities. This is Grad-CAM of
    a sum of logits weighted by the derivatives of the scalar, which are constants if not ``head_grad``.

    Attributes:
        alpha: how much of a similar class is subtracted.
        references: number of similar classes, at most all others.
    """

    alpha: float = 1.0
    references: int = 3

    def __post_init__(self) -> None:
        if self.references < 1:
            raise ValueError(f"Expected at least 1 reference class, got {self.references}.")

    def raw(self, model: TimmModel, view: View, target: Tensor) -> Tensor:
        logits = model.without_dropout(view).to(torch.promote_types(view.logits.dtype, torch.float32))
        weights = torch.func.grad(lambda z: self._margin(z, target.to(z.dtype)).sum())(logits)
        return super().raw(model, view, weights if self.head_grad else weights.detach())

    def _margin(self, logits: Tensor, target: Tensor) -> Tensor:
        """The scalar for targets [B,C], for each image [B]."""
        own = (target * logits).sum(1, keepdim=True)
        distance = (logits - own).abs().masked_fill(target > 0, torch.inf)
        others = min(self.references, int((target == 0).sum(1).min()))
        near = distance.argsort(dim=1, stable=True)[:, :others]
        share = logits.softmax(1).gather(1, near)
        return (share * (own - self.alpha * logits.gather(1, near))).sum(1) / (share.sum(1) + 1e-9)
