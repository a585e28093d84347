"""Features and logits of a network that is cut at a module inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import torch
from torch import Tensor, nn


def replace(value: Any, kind: type, new: Callable[[Any], Any]) -> Any:
    """The same structure with ``new(item)`` in place of every item of a type, in order."""
    if isinstance(value, kind):
        return new(value)
    if isinstance(value, dict):
        return {key: replace(item, kind, new) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(replace(item, kind, new) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(replace(item, kind, new) for item in value)
    return value


def tensors(value: Any) -> list[Tensor]:
    """Every tensor of the structure, in order."""
    found: list[Tensor] = []
    replace(value, Tensor, found.append)
    return found


@dataclass(frozen=True)
class Shape:
    """A shape that grows with the batch.

    Attributes:
        sizes: of every dimension; for those that grow, how much an image adds.
        grows: which dimensions grow.
        dtype: of the tensor.
    """

    sizes: tuple[int, ...]
    grows: tuple[bool, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, few: Tensor, many: Tensor, images: tuple[int, int]) -> Shape:
        """The shape behind two tensors that one module returned for two numbers of images.

        Raises:
            ValueError: sizes that neither stay nor grow in proportion.
        """
        sizes, grows = [], []
        for a, b in zip(few.shape, many.shape, strict=True):
            if a != b and a * images[1] != b * images[0]:
                raise ValueError(f"shapes {tuple(few.shape)} and {tuple(many.shape)} of {images} images")
            grows.append(a != b)
            sizes.append(a if a == b else a // images[0])
        return cls(tuple(sizes), tuple(grows), few.dtype)

    def at(self, batch: int) -> tuple[int, ...]:
        """The shape for that many images."""
        return tuple(s * batch if g else s for s, g in zip(self.sizes, self.grows, strict=True))

    def zeros(self, like: Tensor) -> Tensor:
        """Zeros for the images of ``like``, on its device; floating point as in ``like``."""
        dtype = like.dtype if self.dtype.is_floating_point else self.dtype
        return torch.zeros(self.at(len(like)), dtype=dtype, device=like.device)


MAX_PREFIX = 8
"""Most tokens without a place in the image, where the network does not say how many it has."""


@dataclass(frozen=True)
class Layout:
    """How a tensor holds a map.

    Attributes:
        form: maps [B,K,h,w] or [B,h,w,K], or tokens [B,N,K].
        side: rows, which are as many as the columns.
        prefix: tokens that come before those of the map.
    """

    form: Literal["NCHW", "NHWC", "NLC"]
    side: int
    prefix: int = 0

    @classmethod
    def of(cls, tensor: Tensor, prefix: int = 0) -> Layout | None:
        """The layout of a tensor [B,...], None if it is no map of more than one position.

        Args:
            tensor: made of square images.
            prefix: how many tokens without a place the network says that it has.
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

    @property
    def channel_dim(self) -> int:
        """Which dimension the channels are."""
        return 1 if self.form == "NCHW" else -1

    def grid(self, tensor: Tensor) -> Tensor:
        """The map [B,K,h,w] in a tensor of this layout."""
        if self.form == "NCHW":
            return tensor
        if self.form == "NHWC":
            return tensor.permute(0, 3, 1, 2)
        return tensor[:, self.prefix :].transpose(1, 2).unflatten(2, (self.side, self.side))


class Act(Enum):
    """What a call does in the second part, where it does not return zeros of a known shape."""

    RUN = "run"
    GIVE = "give"


@dataclass(frozen=True)
class Cut:
    """Where a network is cut, and how its second part runs without the images.

    The second part is the network's own ``forward_features`` once more, in which every module before the cut
    that depends on the images is skipped and the module at the cut returns what it is given. So whatever
    code lies after the cut is run as it stands, and what precedes it costs nothing. The forwards of the
    modules concerned are exchanged on the instances for as long as the second part runs, and put back.

    Where the module returns several tensors, the features are all of them, flattened and side by side.

    Attributes:
        module: dotted name of the module whose output the features are.
        number: which call of it, from 0.
        size: height and width of the images.
        output: what the module returns, with a :class:`Shape` for every tensor.
        place: which of these tensors holds the map.
        layout: how it does so.
        acts: what each module does, call by call; after the last of them it runs.
    """

    module: str
    number: int
    size: tuple[int, int]
    output: Any
    place: int
    layout: Layout
    acts: Mapping[str, tuple[Any, ...]]

    @torch.compiler.disable
    def before(self, net: Any, images: Tensor) -> Tensor:
        """Features of images [B,3,H,W], normalised: the module's output, or [B,D] where that is several.

        Raises:
            ValueError: images of another size than the cut was found with.
        """
        if images.shape[-2:] != self.size:
            raise ValueError(
                f"Expected images of {self.size[0]} x {self.size[1]} pixels, for which the network was cut, "
                f"got {images.shape[-2]} x {images.shape[-1]}; wrap it again with image_size=..."
            )
        number = 0

        def stop(_module: nn.Module, _args: Any, output: Any) -> None:
            nonlocal number
            if number == self.number:
                raise _Reached(output)
            number += 1

        with net.get_submodule(self.module).register_forward_hook(stop):
            try:
                net.forward_features(images)
            except _Reached as reached:
                return _packed(reached.output, len(images))
        raise RuntimeError(
            f"{type(net).__name__} never called {self.module}, where it was cut; if it recomputes "
            "activations, switch that off by net.set_grad_checkpointing(False)."
        )

    @torch.compiler.disable
    def after(self, net: Any, features: Tensor) -> Any:
        """What ``forward_features`` returns for the images behind these features."""
        images = features.new_zeros(len(features), 3, *self.size)
        parts = iter(self.parts(features))
        given = replace(self.output, Shape, lambda _: next(parts))
        with _acting(net, self.acts, given, features):
            return net.forward_features(images)

    @property
    def channels(self) -> int:
        """Number of channels K of the map."""
        return self._shapes()[self.place].sizes[self.layout.channel_dim]

    def grid(self, features: Tensor) -> Tensor:
        """The map [B,K,h,w] in features, or in something of their shape."""
        return self.layout.grid(self.parts(features)[self.place])

    def parts(self, features: Tensor) -> list[Tensor]:
        """The tensors that features, or something of their shape, are made of."""
        shapes = self._shapes()
        if len(shapes) == 1:
            return [features]
        whole = [shape.at(len(features)) for shape in shapes]
        lengths = [torch.Size(shape).numel() // len(features) for shape in whole]
        return [
            part.reshape(shape) for part, shape in zip(features.split(lengths, dim=1), whole, strict=True)
        ]

    def _shapes(self) -> list[Shape]:
        shapes: list[Shape] = []
        replace(self.output, Shape, shapes.append)
        return shapes


def _packed(output: Any, images: int) -> Tensor:
    found = tensors(output)
    return found[0] if len(found) == 1 else torch.cat([one.reshape(images, -1) for one in found], dim=1)


class _Reached(Exception):
    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


@contextmanager
def _acting(net: nn.Module, acts: Mapping[str, tuple[Any, ...]], given: Any, like: Tensor) -> Iterator[None]:
    with ExitStack() as stack:
        for name, queue in acts.items():
            own = net.get_submodule(name)
            stack.callback(_put_back, own, dict(own.__dict__))
            own.__dict__["forward"] = _scripted(own.forward, iter(queue), given, like)
        yield


def _put_back(module: nn.Module, before: dict[str, Any]) -> None:
    if "forward" in before:
        module.__dict__["forward"] = before["forward"]
    else:
        module.__dict__.pop("forward", None)


def _scripted(run: Any, queue: Iterator[Any], given: Any, like: Tensor) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        act = next(queue, Act.RUN)
        if act is Act.RUN:
            return run(*args, **kwargs)
        return given if act is Act.GIVE else replace(act, Shape, lambda shape: shape.zeros(like))

    return forward
