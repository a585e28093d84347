"""How the logits of a network depend on a feature map, found by a numerical probe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from egat_hub.models.copies import probe_copy
from egat_hub.models.tap_search import NoTapError, equal_up_to_rounding, find_tap
from egat_hub.models.taps import FeatureTap

HeadForm = Literal["pooled_linear", "differentiable", "independent"]

TOLERANCE = 1e-4
"""Largest relative difference of the slopes of a pooled linear head from their closed form."""


class NoMapError(ValueError):
    """Features are no spatial map."""


@dataclass(frozen=True)
class Probe:
    """Where the features of a network come from, and how its logits depend on them.

    Attributes:
        head_form: ``"pooled_linear"``, ``"differentiable"`` or ``"independent"``.
        tap: the module inside whose output the features are; by default those of ``forward_features``.
        obstacle: why no map inside decides the logits, where they are independent of the last one.
        splits: whether the head on the features gives the network's logits.
    """

    head_form: HeadForm
    tap: FeatureTap | None = None
    obstacle: str | None = None
    splits: bool = True

    @classmethod
    @torch.inference_mode(False)
    def of(cls, net: nn.Module, images: Tensor) -> Probe:
        """Probe a timm network, which is left as it is.

        Args:
            net: a timm classifier.
            images: three [3,3,S,S], normalized; their values matter little.
        """
        with torch.autocast(images.device.type, enabled=False):
            return _probed(probe_copy(net), images.clone())


def features_of(net: Any, tap: FeatureTap | None, images: Tensor) -> Tensor:
    """The features [B,...] of normalized images [B,3,H,W]."""
    return net.forward_features(images) if tap is None else tap.features(net, images)


def head_of(net: Any, tap: FeatureTap | None, features: Tensor) -> Tensor:
    """The logits [B,C] that follow from features."""
    return net.forward_head(features if tap is None else tap.head(net, features))


def grid_of(net: Any, tap: FeatureTap | None, features: Tensor) -> Tensor:
    """Features in any layout as a map [B,K,h,w], without prefix tokens.

    Raises:
        NoMapError: the features hold no spatial map.
    """
    if tap is not None:
        return tap.grid(features)
    name = type(net).__name__
    if not isinstance(features, Tensor):
        raise NoMapError(
            f"Features of {name} are a {type(features).__name__}, not one spatial map to explain."
        )
    if features.ndim == 4:
        channels = net.num_features
        last = getattr(net, "output_fmt", "NCHW") == "NHWC" or (
            features.shape[1] != channels and features.shape[-1] == channels
        )
        return features.permute(0, 3, 1, 2) if last else features
    if features.ndim != 3:
        raise NoMapError(f"Features of {name} have shape {tuple(features.shape)}: no spatial map to explain.")
    tokens = features[:, getattr(net, "num_prefix_tokens", 0) :]
    count = tokens.shape[1]
    size = getattr(getattr(net, "patch_embed", None), "grid_size", None)
    if size is None or math.prod(size) != count:
        size = (math.isqrt(count), math.isqrt(count))
    if math.prod(size) != count:
        raise NoMapError(f"{name} gives {count} spatial tokens, which is no square grid; use square images.")
    return tokens.transpose(1, 2).unflatten(2, tuple(size))


def _probed(net: Any, images: Tensor) -> Probe:
    """Features from the end of the network if its logits depend on them, else from a module inside."""
    with torch.no_grad():
        splits = equal_up_to_rounding(net.forward_head(net.forward_features(images)), net(images))
    if not splits:
        return Probe("independent", None, "its forward is not forward_head(forward_features(x))", splits)
    form, single_token, obstacle = _head_form(net, None, images[:2])
    if form != "independent" and not single_token:
        return Probe(form)
    try:
        tap = find_tap(net, images)
    except NoTapError as error:
        return Probe(form, None, f"{obstacle}; and {error}" if obstacle else str(error))
    return Probe(_head_form(net, tap, images[:2])[0], tap)


def _head_form(net: Any, tap: FeatureTap | None, images: Tensor) -> tuple[HeadForm, bool, str]:
    """The form of a head with random weights, whether features are a single token, and why they are no map.

    The derivative of a logit with respect to the features is compared with that of a pooled linear head.
    """
    with torch.no_grad():
        features = features_of(net, tap, images)
    try:
        grid = grid_of(net, tap, features)
    except NoMapError as error:
        return "independent", False, str(error)
    positions = grid[0, 0].numel()
    single_token = features.ndim == 3 and positions == 1
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        logit = head_of(net, tap, features)[:, 0].sum()
        (slope,) = torch.autograd.grad(logit, features, allow_unused=True)
    if slope is None or not grid_of(net, tap, slope).any():
        return "independent", single_token, ""
    slope, last = grid_of(net, tap, slope), net.get_classifier()
    if not isinstance(last, nn.Linear) or last.weight.shape[1] != grid.shape[1]:
        return "differentiable", single_token, ""
    closed = (last.weight[0] / positions).view(1, -1, 1, 1).expand_as(slope)
    difference = (slope - closed).abs().max() / closed.abs().max()
    return ("pooled_linear" if difference < TOLERANCE else "differentiable"), single_token, ""
