"""Gradients with respect to the images that can be trained through."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from egat_hub.backbone import Backbone
from egat_hub.modes import twice_differentiable


def input_gradient(
    backbone: Backbone, images: Tensor, objective: Callable[[Tensor], Tensor], *, create_graph: bool = True
) -> tuple[Tensor, Tensor]:
    """Logits [B,C] of images, and the gradient [B,3,H,W] of an objective with respect to their pixels.

    Autocast is off inside: second derivatives in half precision are not to be trusted.

    Args:
        backbone: the network.
        images: [B,3,H,W] in [0,1].
        objective: logits [B,C] to one value a sample [B]; it is summed, so that samples do not interact
            (unless BatchNorm in train mode makes them).
        create_graph: whether the gradient can be differentiated again.
    """
    with torch.autocast(images.device.type, enabled=False), twice_differentiable(create_graph):
        images = images.detach().float().requires_grad_()
        logits = backbone(images)
        (slope,) = torch.autograd.grad(objective(logits).sum(), images, create_graph=create_graph)
    return logits, slope
