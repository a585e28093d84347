"""The contract of explanations: (backbone, images, classes) to one saliency map an image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.core.registry import Registry
from egat_hub.models import TimmModel
from egat_hub.models.timm_model import View

NORMALIZATIONS: Registry = Registry("normalizations")

EPSILON = 1e-6
"""Smallest range (or maximum, or sum) of a map that counts as alive."""


def dead(maps: Tensor) -> Tensor:
    """Which maps [B,h,w] are constant and therefore say nothing, as a boolean [B]."""
    return maps.amax((1, 2)) - maps.amin((1, 2)) <= EPSILON


@NORMALIZATIONS.register("minmax")
def minmax(maps: Tensor) -> Tensor:
    """(s - min) / (max - min), in [0, 1]; a constant map becomes zero and passes no gradient."""
    low = maps.amin((1, 2), keepdim=True)
    return _divide(maps - low, maps.amax((1, 2), keepdim=True) - low)


@NORMALIZATIONS.register("max")
def max_(maps: Tensor) -> Tensor:
    """s / max |s|, in [-1, 1]; a zero map stays zero."""
    return _divide(maps, maps.abs().amax((1, 2), keepdim=True))


@NORMALIZATIONS.register("sum")
def sum_(maps: Tensor) -> Tensor:
    """s / sum |s|: the map as a distribution of importance; a zero map stays zero."""
    return _divide(maps, maps.abs().sum((1, 2), keepdim=True))


@NORMALIZATIONS.register("none")
def none(maps: Tensor) -> Tensor:
    """The map as it is, in units of the logit."""
    return maps


def _divide(maps: Tensor, scale: Tensor) -> Tensor:
    alive = scale > EPSILON
    return torch.where(alive, maps / torch.where(alive, scale, 1.0), 0.0)


def enlarge(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps [B,h,w] bilinearly at ``size`` (H, W), in float32 or float64; differentiable."""
    exact = maps if maps.element_size() >= 4 else maps.float()
    return F.interpolate(exact[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0]


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

    def __call__(self, model: TimmModel, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Maps [B,h,w] of ``images`` [B,3,H,W] in [0,1] for ``classes`` (default: the predicted ones)."""
        view = model.view(images)
        return self.of(model, view, view.logits.argmax(1) if classes is None else classes)

    @final
    def of(self, model: TimmModel, view: View, classes: Tensor) -> Tensor:
        """Maps [B,h,w] from a forward pass that exists already.

        Args:
            model: the network that made ``view``.
            view: images, features and logits of one forward pass.
            classes: class indices [B], or weights [B,C] of a linear combination of logits.
        """
        if classes.ndim == 1:
            classes = F.one_hot(classes, model.num_classes)
        with torch.autocast(view.images.device.type, enabled=False):
            maps = self.raw(model, view, classes)
        return NORMALIZATIONS[self.normalize](F.relu(maps) if self.relu else maps)

    def training(self) -> Any:
        """This explanation as methods train with it: affordable, and on the grid of the last features."""
        return self

    def check(self, model: TimmModel) -> None:
        """Refuse a network that cannot be explained; the base class refuses none.

        Raises:
            ValueError: with the remedy.
        """
        return None

    @abstractmethod
    def raw(self, model: TimmModel, view: View, target: Tensor) -> Tensor:
        """Signed map [B,h,w] of the scalar ``sum_c target[b,c] * logits[b,c]`` of every image."""
