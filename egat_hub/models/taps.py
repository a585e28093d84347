"""Feature taps: the features of a module inside a network, and the logits that follow from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import torch
from torch import Tensor, nn

from egat_hub.models.copies import Wrapper, with_forwards

MAX_PREFIX = 8
"""Most class tokens and registers of a network that does not declare how many it has."""


def map_structure(value: Any, kind: type, new: Callable[[Any], Any]) -> Any:
    """The same nested structure with ``new(item)`` for every item of type ``kind``, in order."""
    if isinstance(value, kind):
        return new(value)
    if isinstance(value, dict):
        return {key: map_structure(item, kind, new) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_structure(item, kind, new) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_structure(item, kind, new) for item in value)
    return value


def tensors(value: Any) -> list[Tensor]:
    """Every tensor of a nested structure, in order."""
    found: list[Tensor] = []
    map_structure(value, Tensor, found.append)
    return found


@dataclass(frozen=True)
class Shape:
    """The shape of a tensor as a function of the batch size.

    Attributes:
        sizes: size of every dimension; for dimensions that scale with the batch, the size per image.
        scales: which dimensions scale with the batch.
        dtype: type of the tensor.
    """

    sizes: tuple[int, ...]
    scales: tuple[bool, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, few: Tensor, many: Tensor, batches: tuple[int, int]) -> Shape:
        """Infer the shape from what one module returned for two batch sizes.

        Raises:
            ValueError: a size is neither constant nor proportional to the batch.
        """
        sizes, scales = [], []
        for a, b in zip(few.shape, many.shape, strict=True):
            if a != b and a * batches[1] != b * batches[0]:
                raise ValueError(f"shapes {tuple(few.shape)} and {tuple(many.shape)} of {batches} images")
            scales.append(a != b)
            sizes.append(a if a == b else a // batches[0])
        return cls(tuple(sizes), tuple(scales), few.dtype)

    def at(self, batch: int) -> tuple[int, ...]:
        """The shape for a batch size."""
        return tuple(s * batch if g else s for s, g in zip(self.sizes, self.scales, strict=True))

    def zeros(self, like: Tensor) -> Tensor:
        """Zeros for the batch of ``like``, on its device; floating-point types are those of ``like``."""
        dtype = like.dtype if self.dtype.is_floating_point else self.dtype
        return torch.zeros(self.at(len(like)), dtype=dtype, device=like.device)


@dataclass(frozen=True)
class Layout:
    """How a tensor stores a feature map.

    Attributes:
        form: ``"NCHW"`` [B,K,h,w], ``"NHWC"`` [B,h,w,K], or ``"NLC"``, tokens [B,N,K].
        side: rows, and columns, of the map.
        prefix: number of class tokens and registers before those of the map.
    """

    form: Literal["NCHW", "NHWC", "NLC"]
    side: int
    prefix: int = 0

    @classmethod
    def of(cls, tensor: Tensor, prefix: int = 0) -> Layout | None:
        """The layout of a tensor [B,...] of square images, or None if it has no map of several positions.

        Args:
            tensor: output of a module.
            prefix: number of prefix tokens that the network declares.
        """
        if tensor.ndim == 4:
            _, a, b, c = tensor.shape
            if b == c > 1:
                return cls("NCHW", b)
            return cls("NHWC", a) if a == b > 1 else None
        if tensor.ndim == 3:
            count = tensor.shape[1]
            for extra in (prefix, *range(MAX_PREFIX + 1)):
                side = math.isqrt(max(count - extra, 0))
                if side > 1 and side * side == count - extra:
                    return cls("NLC", side, extra)
        return None

    def grid(self, tensor: Tensor) -> Tensor:
        """The map [B,K,h,w] stored in a tensor of this layout."""
        if self.form == "NCHW":
            return tensor
        if self.form == "NHWC":
            return tensor.permute(0, 3, 1, 2)
        return tensor[:, self.prefix :].transpose(1, 2).unflatten(2, (self.side, self.side))


class Action(Enum):
    """What a module call does while logits are computed from features, unless it returns zeros."""

    RUN = "run"
    INJECT = "inject"


@dataclass(frozen=True)
class FeatureTap:
    """A module call whose output is used as the features of a network.

    :meth:`head` runs the network's own ``forward_features`` on a shallow copy in which the tapped module
    returns the given features, and earlier modules that depend on the images are skipped. So all code after
    the tap runs unchanged, and what precedes it costs nothing. The network itself is never modified, so
    several threads may use it at once.

    If the module returns several tensors, the features are all of them, flattened and concatenated.

    Attributes:
        module: dotted name of the module.
        number: which call of the module, from 0.
        size: height and width of the images.
        output: what the module returns, with a :class:`Shape` for every tensor.
        place: index of the tensor that holds the map.
        layout: how that tensor stores it.
        actions: for every module concerned, what each of its calls does, in order: an :class:`Action`, or
            an output with a :class:`Shape` for every tensor, which become zeros. Further calls run.
    """

    module: str
    number: int
    size: tuple[int, int]
    output: Any
    place: int
    layout: Layout
    actions: Mapping[str, tuple[Any, ...]]

    @torch.compiler.disable
    def features(self, net: nn.Module, images: Tensor) -> Tensor:
        """Features of images [B,3,H,W], normalized: the module's output, or [B,D] if that is several tensors.

        Raises:
            ValueError: the images have another size than the one the tap was found with.
        """
        if images.shape[-2:] != self.size:
            raise ValueError(
                f"Expected images of {self.size[0]} x {self.size[1]} pixels, got {images.shape[-2]} x "
                f"{images.shape[-1]}: {type(net).__name__} explains images of one size only. Wrap it again "
                "with image_size=..."
            )
        calls = iter(range(self.number + 1))

        def stopping(forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                output = forward(*args, **kwargs)
                if next(calls) == self.number:
                    raise _Reached(output)
                return output

            return run

        try:
            with_forwards(net, {self.module: stopping}).forward_features(images)
        except _Reached as reached:
            found = tensors(reached.output)
            return found[0] if len(found) == 1 else torch.cat([t.reshape(len(images), -1) for t in found], 1)
        raise RuntimeError(
            f"{type(net).__name__} never called {self.module}, whose output explanations need. If it "
            "recomputes activations, switch that off by net.set_grad_checkpointing(False)."
        )

    @torch.compiler.disable
    def head(self, net: nn.Module, features: Tensor) -> Any:
        """What ``forward_features`` returns for the images behind these features."""
        parts = iter(self.parts(features))
        output = map_structure(self.output, Shape, lambda _: next(parts))

        def scripted(queue: tuple[Any, ...]) -> Wrapper:
            actions = iter(queue)

            def wrapper(forward: Callable[..., Any]) -> Callable[..., Any]:
                def run(*args: Any, **kwargs: Any) -> Any:
                    action = next(actions, Action.RUN)
                    if action is Action.RUN:
                        return forward(*args, **kwargs)
                    if action is Action.INJECT:
                        return output
                    return map_structure(action, Shape, lambda shape: shape.zeros(features))

                return run

            return wrapper

        copy = with_forwards(net, {name: scripted(queue) for name, queue in self.actions.items()})
        return copy.forward_features(features.new_zeros(len(features), 3, *self.size))

    @property
    def channels(self) -> int:
        """Number of channels K of the map."""
        return self._shapes()[self.place].sizes[1 if self.layout.form == "NCHW" else -1]

    def grid(self, features: Tensor) -> Tensor:
        """The map [B,K,h,w] in features, or in a tensor of their shape."""
        return self.layout.grid(self.parts(features)[self.place])

    def parts(self, features: Tensor) -> list[Tensor]:
        """The module's output tensors that features, or a tensor of their shape, consist of."""
        shapes = [shape.at(len(features)) for shape in self._shapes()]
        if len(shapes) == 1:
            return [features]
        lengths = [math.prod(shape) // len(features) for shape in shapes]
        return [p.reshape(shape) for p, shape in zip(features.split(lengths, dim=1), shapes, strict=True)]

    def _shapes(self) -> list[Shape]:
        shapes: list[Shape] = []
        map_structure(self.output, Shape, shapes.append)
        return shapes


class _Reached(Exception):
    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output
