"""Grad-CAM on the last feature map, in closed form where the head allows it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from egat_hub.backbone import Backbone, View
from egat_hub.explanations.base import EXPLANATIONS, Explanation
from egat_hub.modes import twice_differentiable


@EXPLANATIONS.register("grad_cam")
@dataclass(frozen=True, kw_only=True)
class GradCAM(Explanation):
    """``s = sum_k alpha_k A_k`` with ``alpha_k = mean_ij d logit / d A_kij`` (Selvaraju et al. 2017).

    For a pooled-linear head ``alpha_k`` is the head's weight divided by the number of positions, so the
    map costs one weighted sum of features that exist already. Any other head is differentiated on its
    own, never the rest of the network. Where features are taken inside the network, as for class-token
    transformers, what follows them is the head. Dropout in the head is left out.

    Raises (when called):
        ValueError: the logits do not depend on the spatial features.
    """

    def raw(self, backbone: Backbone, view: View, target: Tensor) -> Tensor:
        features = view.features.to(backbone.mean.dtype)  # the head's own: autocast may have lowered it
        precision = torch.promote_types(features.dtype, torch.float32)
        alpha = self._channel_weights(backbone, features, target.to(precision)).to(precision)
        return (alpha[:, :, None, None] * backbone.grid(features).to(precision)).sum(1)

    def check(self, backbone: Backbone) -> None:
        if backbone.head_form == "independent":
            raise ValueError(
                f"The logits of {backbone.architecture} do not depend on its last spatial features, so "
                f"Grad-CAM is not defined there, nor anywhere inside: {backbone.obstacle}. Create the "
                "network with global_pool='avg'."
            )

    def _channel_weights(self, backbone: Backbone, features: Tensor, target: Tensor) -> Tensor:
        if backbone.head_form == "pooled_linear":
            weight = backbone.classifier.weight
            positions = backbone.grid(features)[0, 0].numel()
            return target @ (weight if self.head_grad else weight.detach()).to(target.dtype) / positions
        self.check(backbone)
        keep_graph = self.head_grad and torch.is_grad_enabled()
        with torch.enable_grad(), twice_differentiable(keep_graph):
            if not features.requires_grad:
                features = features.detach().requires_grad_()
            logits = backbone.head(features, dropout=False)
            (slope,) = torch.autograd.grad(logits, features, target.to(logits.dtype), create_graph=keep_graph)
        return backbone.grid(slope).mean((2, 3))
