"""The contract of explanations: (backbone, images, classes) to one saliency map an image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.backbone import Backbone, View
from egat_hub.explanations.normalize import NORMALIZATIONS
from egat_hub.registry import Registry

EXPLANATIONS: Registry[type[Explanation]] = Registry("explanations")


@dataclass(frozen=True, kw_only=True)
class Explanation(ABC):
    """Saliency maps that are differentiable with respect to the network's parameters.

    They are so with respect to the images, too, where those require gradients; with ``head_grad=False`` the
    part that passes through the channel weights of a class activation map is left out.

    Attributes:
        head_grad: whether gradients of a map reach the weights of the head through the map's channel
            weights. ``False`` treats them as constants, which is what training through captum's
            ``LayerGradCam`` does silently.
        relu: keep only what speaks for the class (Eq. 2 of the EGAT paper).
        normalize: name of a per-image normalisation (``"minmax"``, ``"max"``, ``"sum"``, ``"none"``).
        signed: whether negative values speak against a class.
        second_order: whether the map is itself a derivative of the whole network, so that a change of it with
            the image is a second derivative.
    """

    signed: ClassVar[bool] = True
    second_order: ClassVar[bool] = False

    head_grad: bool = False
    relu: bool = True
    normalize: str = "minmax"

    def __call__(self, backbone: Backbone, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Maps [B,h,w] of ``images`` [B,3,H,W] in [0,1] for ``classes`` (default: the predicted ones)."""
        view = backbone.view(images)
        return self.of(backbone, view, view.logits.argmax(1) if classes is None else classes)

    @final
    def of(self, backbone: Backbone, view: View, classes: Tensor) -> Tensor:
        """Maps [B,h,w] from a forward pass that exists already.

        Args:
            backbone: the network that made ``view``.
            view: images, features and logits of one forward pass.
            classes: class indices [B], or weights [B,C] of a linear combination of logits.
        """
        if classes.ndim == 1:
            classes = F.one_hot(classes, backbone.num_classes)
        with torch.autocast(view.images.device.type, enabled=False):
            maps = self.raw(backbone, view, classes)
        return NORMALIZATIONS[self.normalize](F.relu(maps) if self.relu else maps)

    def training(self) -> Any:
        """This explanation as methods train with it: affordable, and on the grid of the last features."""
        return self

    def check(self, backbone: Backbone) -> None:
        """Refuse a network that cannot be explained; the base class refuses none.

        Raises:
            ValueError: with the remedy.
        """
        return None

    @abstractmethod
    def raw(self, backbone: Backbone, view: View, target: Tensor) -> Tensor:
        """Signed map [B,h,w] of the scalar ``sum_c target[b,c] * logits[b,c]`` of every image."""
