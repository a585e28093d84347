"""A network with BatchNorm folded away for a moment, and put back exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from egat_hub.modes import evaluating, is_batchnorm, prefers_channels_last


class Pair(NamedTuple):
    """Names of a convolution or linear layer and of the norm that alone receives what it gives."""

    layer: str
    norm: str


class Folding(NamedTuple):
    """A layer's own weight and bias, the norm behind it, and the parameters of both together."""

    weight: Tensor
    bias: Tensor | None
    norm: Any
    both: dict[str, Tensor]

    def refresh(self) -> None:
        """Compute ``both`` again from the live weights, at the same place in memory."""
        for name, value in _folded_weights(self.weight, self.bias, self.norm).items():
            self.both[name].copy_(value)


@contextmanager
def folded(
    network: nn.Module, pairs: Sequence[Pair], kept: Mapping[str, Folding] | None = None
) -> Iterator[dict[str, Folding]]:
    """Eval mode inside, and every norm of ``pairs`` a part of the layer before it.

    With ``g = gamma / sqrt(var + eps)``, ``BN(W x + b) = g (W x + b - mean) + beta`` is a convolution by
    ``g W`` with the bias ``g (b - mean) + beta``: outputs and gradients of images are equal up to rounding.
    The weights are those of the moment of entry and constants: no gradient reaches the parameters of a pair.
    Where the device prefers it, the folded weights lie in memory as ``torch.channels_last``, and with them
    what flows through the network. Activations of the norms that would copy what they overwrite do not work
    in place. Pairs that can no longer be folded are left as they are.

    Args:
        network: the network that the pairs were found in, or one of its structure.
        pairs: as found by :func:`~egat_hub.folding.find_pairs`.
        kept: what an earlier call gave, refreshed: its weights are taken as they are.

    Yields:
        what was folded, by the name of the layer.
    """
    foldings = {}
    with ExitStack() as stack:
        stack.enter_context(evaluating(network))
        modules = dict(network.named_modules())
        for pair in pairs:
            layer, norm = modules.get(pair.layer), modules.get(pair.norm)
            if layer is not None and norm is not None and can_fold(layer, norm):
                folding = (kept or {}).get(pair.layer) or _fold(layer, norm)
                stack.callback(layer._parameters.update, dict(layer._parameters))
                layer._parameters.update(folding.both)
                stack.callback(norm.__dict__.pop, "forward")
                norm.__dict__["forward"] = rest = _rest(norm)
                acts: list[Any] = [act for act in rest if _copies_its_input(act)]
                for act in acts:
                    stack.callback(setattr, act, "inplace", True)
                    act.inplace = False
                foldings[pair.layer] = folding
        yield foldings


def can_fold(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether both hold their own plain parameters and nothing is hooked on them or in their place."""
    weight = layer._parameters.get("weight")
    return (
        isinstance(layer, (nn.Conv2d, nn.Linear))
        and is_batchnorm(norm)
        and norm.running_mean is not None
        and norm.running_var is not None
        and type(weight) is nn.Parameter
        and not weight.is_meta
        and len(weight) == len(norm.running_mean)
        and all(_untouched(module) for module in (layer, norm))
    )


def _untouched(module: nn.Module) -> bool:
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks
    return not any(hooks) and not module._backward_pre_hooks and "forward" not in module.__dict__


def _fold(layer: Any, norm: Any) -> Folding:
    return Folding(layer.weight, layer.bias, norm, _folded_weights(layer.weight, layer.bias, norm))


@torch.inference_mode(False)
@torch.no_grad()
def _folded_weights(weight: Tensor, bias: Tensor | None, norm: Any) -> dict[str, Tensor]:
    mean, variance = norm.running_mean, norm.running_var
    gain = torch.rsqrt(variance.to(torch.promote_types(variance.dtype, torch.float32)) + norm.eps)
    if norm.weight is not None:
        gain = gain * norm.weight
    shift = -mean * gain if bias is None else (bias - mean) * gain
    if norm.bias is not None:
        shift = shift + norm.bias
    scaled = weight * gain.view(-1, *[1] * (weight.ndim - 1))
    if weight.ndim == 4 and prefers_channels_last(weight.device):
        scaled = scaled.contiguous(memory_format=torch.channels_last)
    dtype = torch.bfloat16 if _is_lowered(weight) else weight.dtype
    return {"weight": scaled.to(dtype), "bias": shift.to(dtype)}


def _is_lowered(weight: Tensor) -> bool:
    """Whether autocast to bfloat16 would cast them in every forward anew. Attacks do not run in float16."""
    device = weight.device.type
    return (
        weight.dtype == torch.float32
        and torch.is_autocast_enabled(device)
        and torch.get_autocast_dtype(device) == torch.bfloat16
    )


def _copies_its_input(act: Any) -> bool:
    """Whether an activation works in place and needs for its gradient what it overwrites."""
    return isinstance(act, (nn.Hardtanh, nn.Hardswish, nn.Mish, nn.SiLU)) and act.inplace


def _rest(norm: nn.Module) -> nn.Sequential:
    """What a norm does after normalising: timm's variants have dropout and an activation of their own.

    The same object every time, so that a compiled network need not be compiled again.
    """
    found: list[Any] = [getattr(norm, name, None) for name in ("drop", "act")]
    steps = [step for step in found if step is not None and not isinstance(step, nn.Identity)]
    rest = _RESTS.get(norm)
    if rest is None or list(rest) != steps:
        rest = _RESTS[norm] = nn.Sequential(*steps)
    return rest


_RESTS: WeakKeyDictionary[nn.Module, nn.Sequential] = WeakKeyDictionary()
