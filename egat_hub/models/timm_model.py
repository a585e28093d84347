"""Any timm network in pixel space: images in [0, 1] in, features, logits and a saliency grid out."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, cast

import timm
import torch
from timm.data import resolve_model_data_config
from timm.layers import DropPath
from torch import Tensor, nn

from egat_hub.models.last_block import features_after, obstacle, tokens_before
from egat_hub.models.modes import (
    evaluating,
    is_batchnorm,
    prefers_channels_last,
    without_dropout,
    without_recording,
)
from egat_hub.models.tap_search import NoCutError, find_cut
from egat_hub.models.taps import Cut

HeadForm = Literal["pooled_linear", "differentiable", "independent"]


class View(NamedTuple):
    """One forward pass: images [B,3,H,W], the network's own features, logits [B,C]."""

    images: Tensor
    features: Tensor
    logits: Tensor


class _NoMapError(ValueError):
    """Features are no spatial map."""


class _Probe(NamedTuple):
    """How the logits come from the features, and whether these are one token, which is no map."""

    form: HeadForm
    token_alone: bool


class TimmModel(nn.Module):
    """A timm network that takes un-normalised images and gives away the last feature map that decides.

    Mean and standard deviation of the network's ``pretrained_cfg`` are applied inside, once, so that
    attacks, guides and metrics all speak pixels in [0, 1].

    How Grad-CAM may be computed is found out by a one-batch numerical probe, never by name:

    - ``"pooled_linear"``: the logits are a linear layer on the spatial mean of the features, so the
      channel weights of Grad-CAM are rows of that layer;
    - ``"differentiable"``: the head has to be differentiated;
    - ``"independent"``: the logits do not depend on the spatial features.

    Class-token transformers would all be independent. So where the last features decide nothing, features
    are taken from before the last block, which then belongs to the head, if a second probe shows that the
    network can be cut there. ``feature_layer`` is then ``"before_last_block"``, not ``"last"``. Where that
    fails, or where there is no map in the last features, a third probe looks for the last module inside whose
    output is a map that all of the logits come from; ``feature_layer`` is then its dotted name. Where there
    is none either, ``obstacle`` says why. Either way ``head(features(x))`` are the network's logits.

    Args:
        net: a classifier created by timm with at least 2 classes.
        image_size: side of the square images to come; by default what the network was made for.
        freeze_bn: keep every BatchNorm in eval mode, also while training.

    Raises:
        TypeError: ``net`` is not a timm classifier.
        ValueError: the network has fewer than 2 classes, or no spatial map inside.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, *, image_size: int | None = None, freeze_bn: bool = False) -> None:
        super().__init__()
        missing = [f for f in ("forward_features", "forward_head", "pretrained_cfg") if not hasattr(net, f)]
        if missing:
            raise TypeError(
                f"Expected a network created by timm.create_model, got {type(net).__name__}, which has no "
                f"{', '.join(missing)}."
            )
        if getattr(net, "num_classes", 0) < 2:
            raise ValueError(
                f"Expected a classifier with at least 2 classes, got num_classes="
                f"{getattr(net, 'num_classes', 0)}; pass num_classes=... to timm.create_model."
            )
        self.net = cast(Any, net)
        self.freeze_bn = freeze_bn
        config = resolve_model_data_config(net)
        self.image_size = image_size or _fixed_size(net) or config["input_size"][-1]
        like = next(net.parameters())
        for name in ("mean", "std"):
            value = torch.tensor(config[name], device=like.device, dtype=like.dtype).view(1, -1, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self.has_dropout = getattr(net, "drop_rate", 0) > 0 or any(
            isinstance(m, nn.Dropout) and m.p > 0 for m in net.modules()
        )
        self.feature_layer = "last"
        self.obstacle: str | None = None
        self._inside: Cut | None = None
        self.head_form: HeadForm = self._choose_features()
        self.train(net.training)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self.net.num_classes

    @property
    def channels(self) -> int:
        """Number of channels K of the feature map."""
        return self.net.num_features if self._inside is None else self._inside.channels

    @property
    def architecture(self) -> str:
        """timm's name of the network."""
        return self.net.pretrained_cfg.get("architecture", type(self.net).__name__)

    @property
    def classifier(self) -> Any:
        """The last layer of the head, or a list where there are several."""
        layer = self.net.get_classifier()
        return nn.ModuleList(layer) if isinstance(layer, (tuple, list)) else layer

    def train(self, mode: bool = True) -> TimmModel:
        """Train or eval mode; frozen BatchNorm layers stay in eval mode."""
        super().train(mode)
        if self.freeze_bn:
            for module in self.net.modules():
                if is_batchnorm(module):
                    module.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """Images [B,3,H,W] in [0,1] to the network's own features (NCHW, NHWC or tokens).

        From a module inside that returns several tensors, they come flattened and side by side, [B,D].

        Raises:
            ValueError: images of another size than ``image_size``, where features are taken inside.
        """
        images = self._normalized(images)
        if self._inside is not None:
            return self._inside.before(self.net, images)
        if self.feature_layer == "last":
            return self.net.forward_features(images)
        return tokens_before(self.net, images)

    def head(self, features: Tensor, *, dropout: bool = True) -> Tensor:
        """Features to logits [B,C].

        ``dropout=False`` is for a second look at features: also in train mode it leaves dropout out, and
        running statistics as they are.
        """
        if dropout or not self.training:
            return self._logits(features)
        with without_dropout(self.net), without_recording(self.net):
            return self._logits(features)

    def without_dropout(self, view: View) -> Tensor:
        """Logits [B,C] of a view as they are without dropout in the head, at the price of the head alone."""
        return self.head(view.features, dropout=False) if self.training and self.has_dropout else view.logits

    def view(self, images: Tensor) -> View:
        """One forward pass with everything that explanations need."""
        features = self.features(images)
        return View(images, features, self.head(features))

    def forward(self, images: Tensor) -> Tensor:
        """Images [B,3,H,W] in [0,1] to logits [B,C]."""
        return self.head(self.features(images))

    def grid(self, features: Tensor) -> Tensor:
        """Features in any layout as a map [B,K,h,w]; prefix tokens are dropped.

        Raises:
            ValueError: there is no spatial map in the features.
        """
        if self._inside is not None:
            return self._inside.grid(features)
        if features.ndim == 4:
            channels = self.channels
            last = getattr(self.net, "output_fmt", "NCHW") == "NHWC" or (
                features.shape[1] != channels and features.shape[-1] == channels
            )
            return features.permute(0, 3, 1, 2) if last else features
        if features.ndim == 3:
            tokens = features[:, getattr(self.net, "num_prefix_tokens", 0) :]
            height, width = self._token_grid(tokens.shape[1])
            return tokens.transpose(1, 2).unflatten(2, (height, width))
        raise _NoMapError(
            f"Features of {type(self.net).__name__} have shape {tuple(features.shape)}: no spatial map to "
            "explain."
        )

    @contextmanager
    def compiled(self) -> Iterator[None]:
        """Inside, :meth:`features` run through ``torch.compile``; not the head, which maps differentiate.

        Features and first derivatives are equal up to rounding; there are no second ones. Of a network that
        is cut inside nothing is compiled. A copy made inside would run on with the weights of this network.
        """
        self.__dict__["features"] = torch.compile(self.features)
        try:
            yield
        finally:
            del self.__dict__["features"]
            torch.compiler.reset()  # graphs are counted for all networks together, and limited

    def _normalized(self, images: Tensor) -> Tensor:
        """What the network takes. In train mode channels last, which convolutions keep however weights lie.

        Not in eval mode: there the logits are those of the network alone, to the last bit.
        """
        images = (images - self.mean) / self.std
        if self.training and prefers_channels_last(images.device):
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def _logits(self, features: Tensor) -> Tensor:
        if self._inside is not None:
            features = self._inside.after(self.net, features)
        elif self.feature_layer == "before_last_block":
            features = features_after(self.net, features, self._token_grid)
        return self.net.forward_head(features)

    def _choose_features(self) -> HeadForm:
        """Where features are taken from: the end, before the last block, or inside."""
        images = _probe_images(self, torch.Generator().manual_seed(0))
        form: HeadForm = "independent"
        wrong: _NoMapError | None = None
        alone = False
        try:
            form, alone = _probe_head(self, images)
        except _NoMapError as error:
            wrong = error
        else:
            if form == "independent":
                form = self._before_last_block(images)
        if form == "independent" or alone:
            form = self._cut_inside(images, form)
        if form == "independent" and wrong is not None:
            raise ValueError(f"{wrong} Nor is there one inside: {self.obstacle}. Choose another network.")
        if self.feature_layer != "last":
            paths = (m for m in self.net.modules() if isinstance(m, DropPath))
            self.has_dropout |= any(path.drop_prob > 0 for path in paths)
        return form

    def _before_last_block(self, images: Tensor) -> HeadForm:
        """Take features from before the last block, if that can be and if they decide something there."""
        with evaluating(self.net):
            self.obstacle = obstacle(self.net, self._normalized(images), self._token_grid)
        if self.obstacle is None:
            self.feature_layer = "before_last_block"
            form = _probe_head(self, images).form
            if form != "independent":
                return form
            self.feature_layer, self.obstacle = "last", "its last block does not look at other tokens"
        return "independent"

    def _cut_inside(self, images: Tensor, form: HeadForm) -> HeadForm:
        """Take features from the last module inside that gives a map, if there is one."""
        images = torch.cat([images, images.flip(3)[:1]])
        try:
            with evaluating(self.net), _random_classifier(self.classifier):
                self._inside = find_cut(self.net, self._normalized(images))
        except NoCutError as error:
            self.obstacle = str(error)
            return form
        self.feature_layer, self.obstacle = self._inside.module, None
        return _probe_head(self, images).form

    def _token_grid(self, count: int) -> tuple[int, int]:
        grid = getattr(getattr(self.net, "patch_embed", None), "grid_size", None)
        if grid is not None and math.prod(grid) == count:
            return tuple(grid)
        side = math.isqrt(count)
        if side * side != count:
            raise _NoMapError(
                f"{type(self.net).__name__} gives {count} spatial tokens, which is no square grid; use "
                "square images."
            )
        return side, side


def create_model(
    name: str,
    *,
    num_classes: int,
    image_size: int | None = None,
    pretrained: bool = True,
    drop_rate: float = 0.0,
    freeze_bn: bool = False,
    **model_args: Any,
) -> TimmModel:
    """Create a timm network by name and wrap it.

    Raises:
        ValueError: timm does not know the name; close matches are given.
    """
    architecture = name.split(".")[0]
    if ":" not in name and not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        hint = f" Close matches: {', '.join(close)}." if close else " See timm.list_models()."
        raise ValueError(f"timm knows no network {architecture!r}.{hint}")
    cfg = timm.get_pretrained_cfg(name) if ":" not in name else None
    if image_size and cfg and cfg.fixed_input_size:
        model_args = {"img_size": image_size, **model_args}
    net = timm.create_model(
        name, pretrained=pretrained, num_classes=num_classes, drop_rate=drop_rate, **model_args
    )
    return TimmModel(net, image_size=image_size, freeze_bn=freeze_bn)


def _fixed_size(net: nn.Module) -> int | None:
    """Side of the images that a network of fixed input size was created for."""
    for module in (getattr(net, "patch_embed", None), net, *net.children()):
        size = getattr(module, "img_size", None)
        if isinstance(size, (tuple, list)):
            return size[0]
    return None


def _probe_images(model: TimmModel, generator: torch.Generator) -> Tensor:
    images = torch.rand(2, 3, model.image_size, model.image_size, generator=generator)
    return images.to(next(model.net.parameters()))


def _probe_head(model: TimmModel, images: Tensor, tolerance: float = 1e-4) -> _Probe:
    """Compare the pooled-linear closed form of d logit / d features with autograd on random weights.

    Raises:
        _NoMapError: the features are no map.
    """
    weight = getattr(model.classifier, "weight", None)
    with evaluating(model.net):
        with torch.no_grad():
            features = model.features(images)
        if not isinstance(features, Tensor):
            raise _NoMapError(
                f"Features of {type(model.net).__name__} are a {type(features).__name__}, not one spatial "
                "map to explain."
            )
        with _random_classifier(model.classifier), torch.enable_grad():
            grid = model.grid(features)
            positions = grid[0, 0].numel()
            alone = features.ndim == 3 and positions == 1
            features = features.detach().requires_grad_()
            (slope,) = torch.autograd.grad(model.head(features)[:, 0].sum(), features, allow_unused=True)
            if slope is None or not model.grid(slope).any():
                return _Probe("independent", alone)
            slope = model.grid(slope)
            if (
                weight is None
                or not isinstance(model.classifier, nn.Linear)
                or weight.shape[1] != grid.shape[1]
            ):
                return _Probe("differentiable", alone)
            closed = (weight[0] / positions).view(1, -1, 1, 1).expand_as(slope)
            error = (slope - closed).abs().max() / closed.abs().max()
            return _Probe("pooled_linear" if error < tolerance else "differentiable", alone)


@contextmanager
def _random_classifier(classifier: nn.Module) -> Iterator[None]:
    """Weights of the last layer are random inside: those of a new network may be zero."""
    generator = torch.Generator().manual_seed(0)
    weights = [layer.weight for layer in classifier.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    saved = [weight.detach().clone() for weight in weights]
    try:
        with torch.no_grad():
            for weight in weights:
                weight.copy_(torch.randn(weight.shape, generator=generator))
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, saved, strict=True):
                weight.copy_(value)
