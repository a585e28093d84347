"""Any timm network in pixel space: images in [0, 1] in, features, logits and a feature map out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from timm.data import resolve_model_data_config
from timm.layers import DropPath, PatchEmbed
from timm.task import TrainingTask
from torch import Tensor, nn

from egat_hub.models.probe import HeadForm, Probe, features_of, grid_of, head_of
from egat_hub.models.train_mode import is_batchnorm, prefers_channels_last, without_dropout, without_recording


class View(NamedTuple):
    """One forward pass: images [B,3,H,W], the network's own features, logits [B,C]."""

    images: Tensor
    features: Tensor
    logits: Tensor


class TimmModel(nn.Module):
    """A timm network that takes images in [0, 1] and exposes the last feature map that decides its logits.

    Mean and standard deviation of the network's ``pretrained_cfg`` are applied inside, so attacks, guides and
    metrics all work on pixels in [0, 1]. A call is ``net((images - mean) / std)`` and nothing else.

    When features are first needed, a numerical probe finds the form of the head:

    - ``"pooled_linear"``: the logits are a linear layer on the spatial mean of the features, so the channel
      weights of Grad-CAM are rows of that layer;
    - ``"differentiable"``: the head has to be differentiated;
    - ``"independent"``: the logits do not depend on a feature map.

    Where the last features do not decide the logits, as in class-token transformers, or are no map, features
    are taken from the last module whose output is a map that all logits come from. ``feature_layer`` is then
    its dotted name instead of ``"last"``; if there is none, ``obstacle`` says why.

    Args:
        net: a classifier created by timm, for RGB images and with at least 2 classes.
        image_size: side of the square input images; by default the size that the network was made for.
        freeze_bn: keep every BatchNorm in eval mode, also while training.

    Raises:
        TypeError: ``net`` is not a timm classifier.
        ValueError: its classes, channels or image size are not supported.
    """

    mean: Tensor
    std: Tensor

    @torch.inference_mode(False)
    def __init__(self, net: nn.Module, *, image_size: int | None = None, freeze_bn: bool = False) -> None:
        super().__init__()
        self.net = cast(Any, net)
        _check_classifier(net)
        self.image_size = _checked_size(net, image_size)
        self.freeze_bn = freeze_bn
        config, like = resolve_model_data_config(net), next(net.parameters())
        self._normalization = {name: tuple(map(float, config[name])) for name in ("mean", "std")}
        for name in self._normalization:
            self.register_buffer(name, self._statistic(name, like), persistent=False)
        self._drops = getattr(net, "drop_rate", 0) > 0 or any(
            isinstance(m, nn.Dropout) and m.p > 0 for m in net.modules()
        )
        self._probe: Probe | None = None
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self.train(net.training)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self.net.num_classes

    @property
    def architecture(self) -> str:
        """timm's name of the network."""
        return self.net.pretrained_cfg.get("architecture", type(self.net).__name__)

    @property
    def classifier(self) -> Any:
        """The last layer of the head, or a list if there are several."""
        layer = self.net.get_classifier()
        return nn.ModuleList(layer) if isinstance(layer, (tuple, list)) else layer

    @property
    def probe(self) -> Probe:
        """What a numerical probe finds out about features and head, at the first request."""
        if self._probe is None:
            with torch.inference_mode(False):
                generator, size = torch.Generator().manual_seed(0), self.image_size
                images = torch.rand(2, 3, size, size, generator=generator, dtype=torch.float32, device="cpu")
                images = torch.cat([images, images.flip(3)[:1]]).to(self.mean)
                self._probe = Probe.of(self.net, (images - self.mean) / self.std)
        return self._probe

    @property
    def head_form(self) -> HeadForm:
        """How the logits depend on the features."""
        return self.probe.head_form

    @property
    def feature_layer(self) -> str:
        """Name of the module whose output the features are; ``"last"`` for those of ``forward_features``."""
        return "last" if self.probe.tap is None else self.probe.tap.module

    @property
    def obstacle(self) -> str | None:
        """Why no feature map decides the logits, if none does."""
        return self.probe.obstacle

    @property
    def channels(self) -> int:
        """Number of channels K of the feature map."""
        return self.net.num_features if self.probe.tap is None else self.probe.tap.channels

    @property
    def has_dropout(self) -> bool:
        """Whether the head may drop something in train mode."""
        if self._drops or self.probe.tap is None:
            return self._drops
        return any(isinstance(m, DropPath) and m.drop_prob > 0 for m in self.net.modules())

    def train(self, mode: bool = True) -> TimmModel:
        """Train or eval mode; frozen BatchNorm layers stay in eval mode."""
        super().train(mode)
        if self.freeze_bn:
            for module in self.net.modules():
                if is_batchnorm(module):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Images [B,3,H,W] in [0,1] to logits [B,C]."""
        if self._compiled:
            return self.head(self.features(images))
        return self.net(self._normalized(images))

    def features(self, images: Tensor) -> Tensor:
        """Images [B,3,H,W] in [0,1] to the network's own features (NCHW, NHWC or tokens).

        If ``feature_layer`` returns several tensors, they come flattened and concatenated, [B,D].
        """
        return (self._compiled or self._features)(images)

    def head(self, features: Tensor, *, dropout: bool = True) -> Tensor:
        """Features to logits [B,C]; without ``dropout``, running statistics are not updated either."""
        if dropout or not self.training:
            return head_of(self.net, self.probe.tap, features)
        with without_dropout(self.net), without_recording(self.net):
            return head_of(self.net, self.probe.tap, features)

    def view(self, images: Tensor) -> View:
        """One forward pass with everything that explanations need."""
        features = self.features(images)
        whole = not self.probe.splits or self._forward_hooks or self._forward_pre_hooks
        return View(images, features, self(images) if whole else self.head(features))

    def without_dropout(self, view: View) -> Tensor:
        """Logits [B,C] of a view without dropout in the head."""
        return self.head(view.features, dropout=False) if self.training and self.has_dropout else view.logits

    def grid(self, features: Tensor) -> Tensor:
        """Features in any layout as a map [B,K,h,w], without prefix tokens; ValueError if they hold none."""
        return grid_of(self.net, self.probe.tap, features)

    @contextmanager
    def compiled(self) -> Iterator[None]:
        """Inside, :meth:`features` run through ``torch.compile``; not the head, which maps differentiate.

        Features and first derivatives are equal up to rounding; second derivatives are not available.
        """
        blocks: list[nn.Module] = []
        if self.probe.tap is None:
            self._compiled = torch.compile(self._features)
        else:
            parent, _, last = self.probe.tap.module.rpartition(".")
            children = dict(self.net.get_submodule(parent).named_children())
            blocks = list(children.values())[: list(children).index(last) + 1]
        for block in blocks:
            block.compile()
        try:
            yield
        finally:
            self._compiled = None
            for block in blocks:
                block._compiled_call_impl = None
            torch.compiler.reset()  # graphs are counted for all networks together, and limited

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_compiled": None}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TimmModel:
        """Other types and devices; mean and std are rounded once, from their exact values."""
        super()._apply(fn, recurse)
        for name in self._normalization:
            if not getattr(self, name).is_meta:
                setattr(self, name, self._statistic(name, getattr(self, name)))
        return self

    def _statistic(self, name: str, like: Tensor) -> Tensor:
        values = self._normalization[name]
        return torch.tensor(values, device=like.device, dtype=like.dtype).view(1, -1, 1, 1)

    def _features(self, images: Tensor) -> Tensor:
        return features_of(self.net, self.probe.tap, self._normalized(images))

    def _normalized(self, images: Tensor) -> Tensor:
        """The network's input; channels last in train mode only, so that eval mode is exact."""
        images = (images - self.mean) / self.std
        if self.training and prefers_channels_last(images.device):
            return images.contiguous(memory_format=torch.channels_last)
        return images


def unwrap(model: nn.Module) -> nn.Module:
    """The :class:`TimmModel` in a classifier or method of this package, or around a timm network.

    Any other module is returned unchanged, even if it contains one of those: its own ``forward`` counts.
    """
    inner, package = getattr(model, "model", None), __name__.partition(".")[0]
    ours = isinstance(model, TrainingTask) or type(model).__module__.partition(".")[0] == package
    if isinstance(inner, TimmModel) and ours:
        return inner
    if not isinstance(model, TimmModel) and all(hasattr(model, name) for name in _TIMM):
        return TimmModel(model)
    return model


_TIMM = ("forward_features", "forward_head", "pretrained_cfg")
"""What networks created by timm have."""


def _check_classifier(net: Any) -> None:
    missing = [name for name in _TIMM if not hasattr(net, name)]
    if missing:
        raise TypeError(
            f"Expected a network created by timm.create_model, got {type(net).__name__}, which has no "
            f"{', '.join(missing)}."
        )
    classes = getattr(net, "num_classes", 0)
    if classes < 2:
        raise ValueError(
            f"Expected a classifier with at least 2 classes, got num_classes={classes}; pass num_classes=... "
            "to timm.create_model."
        )
    last = net.get_classifier()
    if isinstance(last, nn.Linear) and last.out_features != classes:
        raise ValueError(
            f"The last layer of {type(net).__name__} has {last.out_features} outputs and num_classes is "
            f"{classes}. Replace the layer by net.reset_classifier({last.out_features}), not by hand."
        )
    first = net.pretrained_cfg.get("first_conv") or ()
    stem = dict(net.named_modules()).get(first if isinstance(first, str) else "".join(first[:1]))
    if isinstance(stem, nn.Conv2d) and stem.in_channels % 3:  # some rearrange pixels into more channels
        raise ValueError(
            f"Expected a network for RGB images, got one for {stem.in_channels} channels. Create it with "
            "in_chans=3, and repeat the channel of grayscale images."
        )


def _checked_size(net: Any, image_size: int | None) -> int:
    """The side of the images, of a network that takes these."""
    embed, fixed = getattr(net, "patch_embed", None), None
    for module in (embed, net, *net.children()):
        fixed = fixed or getattr(module, "img_size", None)
    height, width = fixed if isinstance(fixed, (tuple, list)) else (None, None)
    if height != width:
        raise ValueError(
            f"Expected a network for square images, got img_size=({height}, {width}). Create it for a "
            "square, and resize or pad images."
        )
    pretrained = resolve_model_data_config(net)["input_size"][-1]
    size = (height or pretrained) if image_size is None else image_size
    if not isinstance(size, int) or size < 1:
        raise ValueError(
            f"Expected image_size as a positive number of pixels, one side of a square, got {size}."
        )
    if height and size != height and getattr(embed, "strict_img_size", False):
        raise ValueError(
            f"{type(net).__name__} was created for images of {height} x {width} pixels, not {size}. Pass "
            f"img_size={size} to timm.create_model, or use egat_hub.create_model(..., image_size={size})."
        )
    patch = 1
    if isinstance(embed, PatchEmbed) and not embed.dynamic_img_pad and size != pretrained:
        patch = max(embed.patch_size)
    if size % patch:
        raise ValueError(
            f"Expected an image size that is a multiple of the patches' {patch} pixels, got {size}; the next "
            f"is {(size // patch + 1) * patch}."
        )
    return size
