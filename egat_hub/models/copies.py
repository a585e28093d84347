"""Shallow copies of networks. They share weights, and can be changed while others use the original."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]
"""From the ``forward`` of a module to another one in its place."""


def with_forwards(net: nn.Module, wrappers: Mapping[str, Wrapper]) -> Any:
    """A copy of a network in which some modules have another ``forward``.

    Only the modules named and those that contain them are copied; everything else is shared.

    Args:
        net: any network.
        wrappers: what is done to ``forward``, by the dotted names of modules.
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
