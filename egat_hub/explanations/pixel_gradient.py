"""What explanations by gradients with respect to pixels have in common."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from egat_hub.backbone import Backbone, View
from egat_hub.explanations.base import Explanation
from egat_hub.guides import on_grid
from egat_hub.modes import frozen, twice_differentiable, without_dropout, without_recording

E = TypeVar("E", bound="PixelGradient")


@dataclass(frozen=True, kw_only=True)
class PixelGradient(Explanation):
    """Maps at the resolution of the images, or on the grid of the network's last features.

    Dropout is left out, and running statistics stay as they are. A derivative of such a map is a second
    derivative of the network: by the images it is zero almost everywhere where all activations are ReLUs.

    Attributes:
        grid: average maps over the cells of the last feature map, where guides and other maps can be compared
            with them cell by cell.
    """

    second_order: ClassVar[bool] = True

    grid: bool = False

    def training(self) -> Any:
        return replace(self, grid=True)

    def slope(self, backbone: Backbone, images: Tensor, target: Tensor) -> Tensor:
        """Gradient [B,3,H,W] of ``sum_c target[b,c] * logits[b,c]``.

        Where a graph is recorded, it leads to the parameters, and to the images if those require gradients.
        """
        trained = torch.is_grad_enabled()
        constant = nullcontext() if self.head_grad else frozen(backbone.classifier)
        twice = twice_differentiable(trained)
        with torch.enable_grad(), without_dropout(backbone), without_recording(backbone), constant, twice:
            if not images.requires_grad:
                images = images.detach().requires_grad_()
            score = (backbone(images) * target).sum()
            return torch.autograd.grad(score, images, create_graph=trained)[0]

    def placed(self, backbone: Backbone, view: View, maps: Tensor) -> Tensor:
        """Maps [B,H,W] as they are, or on the grid [B,h,w] of the features of ``view``."""
        return on_grid(maps[:, None], backbone.grid(view.features)[:, 0]) if self.grid else maps
