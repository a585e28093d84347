"""The contract of explanations: (model, images, classes) to one saliency map per image."""

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
"""Range (or maximum, or sum) up to which a map counts as constant."""


def dead(maps: Tensor) -> Tensor:
    """Which maps [B,h,w] are constant, so that they show nothing, as a boolean [B]."""
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
    """The map unchanged, in units of the logit."""
    return maps


def _divide(maps: Tensor, scale: Tensor) -> Tensor:
    alive = scale > EPSILON
    return torch.where(alive, maps / torch.where(alive, scale, 1.0), 0.0)


def enlarge(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps [B,h,w] resized bilinearly to ``size`` (H, W), in float32 or float64; differentiable."""
    exact = maps if maps.element_size() >= 4 else maps.float()
    return F.interpolate(exact[:, None], tuple(size), mode="bilinear")[:, 0]


def _check_weights(model: TimmModel) -> None:
    if next(model.parameters()).is_inference():
        raise ValueError(
            "The network was created under torch.inference_mode(), so it cannot be differentiated. Create or "
            "load it outside."
        )


EXPLANATIONS: Registry[type[Explanation]] = Registry("explanations")


@dataclass(frozen=True, kw_only=True)
class Explanation(ABC):
    """Saliency maps that are differentiable with respect to parameters, and to images that require gradients.

    Attributes:
        head_grad: whether gradients of a map reach the weights of the head through the map's channel
            weights. ``False`` treats them as constants, as captum's ``LayerGradCam`` does.
        relu: keep only evidence for the class (Eq. 2 of the EGAT paper).
        normalize: name of a per-image normalization (``"minmax"``, ``"max"``, ``"sum"``, ``"none"``).
        signed: whether negative values are evidence against a class.
        second_order: whether the map is a derivative of the whole network, so that its own derivatives are
            second derivatives.
    """

    signed: ClassVar[bool] = True
    second_order: ClassVar[bool] = False

    head_grad: bool = False
    relu: bool = True
    normalize: str = "minmax"

    def __call__(self, model: TimmModel, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Maps [B,h,w].

        Args:
            model: the network to explain.
            images: [B,3,H,W] in [0,1].
            classes: class indices [B], or weights [B,C] of a sum of logits; by default the predicted classes.

        Raises:
            ValueError: logits that are not finite, or a network that cannot be explained.
        """
        _check_weights(model)
        view = model.view(images)
        if broken := int((~torch.isfinite(view.logits)).any(1).sum()):
            raise ValueError(
                f"The logits of {broken} of {len(images)} images are not finite, so there is nothing to "
                "explain. Check the weights and the images for NaN."
            )
        return self.of(model, view, view.logits.argmax(1) if classes is None else classes)

    @final
    def of(self, model: TimmModel, view: View, classes: Tensor) -> Tensor:
        """As a call, from an existing forward pass of the network, which may come from inference mode."""
        _check_weights(model)
        if torch.is_inference_mode_enabled() or view.logits.is_inference():
            recorded = torch.is_grad_enabled()
            with torch.inference_mode(False), torch.set_grad_enabled(recorded):
                return self.of(model, View(*(part.clone() for part in view)), classes.clone())
        if classes.ndim == 1:
            classes = F.one_hot(classes, model.num_classes)
        with torch.autocast(view.images.device.type, enabled=False):
            maps = self.raw(model, view, classes)
        return NORMALIZATIONS[self.normalize](F.relu(maps) if self.relu else maps)

    def training(self) -> Any:
        """The form of this explanation used in training: cheaper, and on the grid of the features."""
        return self

    def check(self, model: TimmModel) -> None:  # noqa: B027
        """Raise a ValueError for a network that cannot be explained; the base class accepts all."""

    @abstractmethod
    def raw(self, model: TimmModel, view: View, target: Tensor) -> Tensor:
        """Signed maps [B,h,w] of the scalar ``sum_c target[b,c] * logits[b,c]`` of each image."""
