"""Feature taps: the features of a module inside a network, and the logits that follow from them.

They run on shallow copies of networks, which share weights and can be changed while others use the original.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

MAX_PREFIX = 8
"""Most class tokens and registers of a network that does not declare how many it has."""


def tensors(value: Any) -> list[Tensor]:
    """Every tensor of a nested structure, in order."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


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
        """Infer the shape from what one module returned for two batch sizes."""
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
        """Zeros for the batch of ``like``, on its device and, if floating-point, of its type."""
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

        ``prefix`` is the number of prefix tokens that the network declares.
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
    returns the given features, and earlier modules that depend on the images are skipped. The network itself
    is never modified, so several threads may use it at once. If the module returns several tensors, the
    features are all of them, flattened and concatenated.

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
        """Features of normalized images [B,3,H,W]: the module's output, or [B,D] for several tensors."""
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
            found = tensors(reached.args[0])
            return found[0] if len(found) == 1 else torch.cat([t.reshape(len(images), -1) for t in found], 1)
        raise RuntimeError(
            f"{type(net).__name__} never called {self.module}, whose output explanations need. If it "
            "recomputes activations, switch that off by net.set_grad_checkpointing(False)."
        )

    @torch.compiler.disable
    def head(self, net: nn.Module, features: Tensor) -> Any:
        """What ``forward_features`` returns for the images behind these features."""
        parts = iter(self.parts(features))
        output = tree_map_only(Shape, lambda _: next(parts), self.output)

        def scripted(queue: tuple[Any, ...]) -> Wrapper:
            actions = iter(queue)

            def wrapper(forward: Callable[..., Any]) -> Callable[..., Any]:
                def run(*args: Any, **kwargs: Any) -> Any:
                    action = next(actions, Action.RUN)
                    if action is Action.RUN:
                        return forward(*args, **kwargs)
                    if action is Action.INJECT:
                        return output
                    return tree_map_only(Shape, lambda shape: shape.zeros(features), action)

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
        return [leaf for leaf in tree_leaves(self.output) if isinstance(leaf, Shape)]


class _Reached(Exception):
    """Stops a forward pass at the tapped module; its argument is what that returned."""


Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]
"""From the ``forward`` of a module to another one in its place."""


def with_forwards(net: nn.Module, wrappers: Mapping[str, Wrapper]) -> Any:
    """A copy of a network in which the ``forward`` of some modules is wrapped, by their dotted names.

    Only the modules named and those that contain them are copied; everything else is shared.
    """
    return _with_forwards(net, {net.get_submodule(name): wrapper for name, wrapper in wrappers.items()}, {})


def _with_forwards(
    module: nn.Module, wrappers: Mapping[nn.Module, Wrapper], copies: dict[nn.Module, Any]
) -> Any:
    if module not in copies:
        children = {
            n: _with_forwards(c, wrappers, copies) for n, c in module._modules.items() if c is not None
        }
        changed = {name: child for name, child in children.items() if child is not module._modules[name]}
        copies[module] = module
        if changed or module in wrappers:
            copies[module] = copy = _shallow_copy(module)
            copy._modules.update(changed)
            if module in wrappers:
                forward = wrappers[module](module.__dict__.get("forward") or _weakly_bound_forward(copy))
                copy.__dict__.update(forward=forward, _compiled_call_impl=None)
    return copies[module]


def probe_copy(net: nn.Module) -> Any:
    """A copy of a network to experiment on: in eval mode, with constant weights and a random last layer.

    A gradient through the copy reaches the images alone. The last layer is random because that of an
    untrained network may be zero. Weights other than those are shared.
    """
    probe = _constant_copy(net, {})
    generator = torch.Generator().manual_seed(0)
    last = probe.get_classifier()
    for layer in last if isinstance(last, (tuple, list)) else [last]:
        for module in layer.modules() if isinstance(layer, nn.Module) else ():
            weight = module._parameters.get("weight")
            if isinstance(module, nn.Linear | nn.Conv2d) and weight is not None:
                random = torch.randn(weight.shape, generator=generator, dtype=torch.float32, device="cpu")
                module._parameters["weight"] = random.to(weight)  # type: ignore[assignment]
    return probe


def _constant_copy(module: nn.Module, copies: dict[nn.Module, Any]) -> Any:
    if module not in copies:
        copies[module] = copy = _shallow_copy(module)
        copy.__dict__.update(training=False, _compiled_call_impl=None)
        for tensors in (copy._parameters, copy._buffers):
            tensors.update({name: _constant(value) for name, value in tensors.items()})
        children = {n: _constant_copy(c, copies) for n, c in module._modules.items() if c is not None}
        copy._modules.update(children)
    return copies[module]


def _constant(value: Tensor | None) -> Tensor | None:
    if value is None:
        return None
    return value.detach().clone() if value.is_inference() else value.detach()


def _shallow_copy(module: nn.Module) -> Any:
    """The same module and submodules in another object, with dictionaries of its own."""
    copy = module.__new__(type(module))
    for name, value in module.__dict__.items():
        copy.__dict__[name] = value.copy() if isinstance(value, dict) else value
    return copy


def _weakly_bound_forward(module: nn.Module) -> Callable[..., Any]:
    """``module.forward`` without a reference cycle, in which tensors would wait to be collected."""
    reference, forward = weakref.ref(module), type(module).forward
    return lambda *args, **kwargs: forward(reference(), *args, **kwargs)
