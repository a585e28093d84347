"""BatchNorm in eval mode, folded into the layer before it."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from egat_hub.models.train_mode import evaluating, is_batchnorm, prefers_channels_last


class Pair(NamedTuple):
    """Names of a convolution or linear layer, and of the norm that is the only one to receive its output."""

    layer: str
    norm: str


class Folding(NamedTuple):
    """Weight and bias of a layer, the norm after it, and the parameters of both combined."""

    weight: Tensor
    bias: Tensor | None
    norm: Any
    both: dict[str, Tensor]

    @classmethod
    def of(cls, layer: Any, norm: Any) -> Folding:
        """Fold the current weights."""
        return cls(layer.weight, layer.bias, norm, _folded_weights(layer.weight, layer.bias, norm))

    def refresh(self) -> None:
        """Recompute ``both`` from the current weights, in place."""
        for name, value in _folded_weights(self.weight, self.bias, self.norm).items():
            self.both[name].copy_(value)


@contextmanager
def folded(
    network: nn.Module, pairs: Sequence[Pair], kept: Mapping[str, Folding] | None = None
) -> Iterator[dict[str, Folding]]:
    """Eval mode inside, with every norm of ``pairs`` folded into the layer before it.

    With ``g = gamma / sqrt(var + eps)``, ``BN(W x + b) = g (W x + b - mean) + beta`` is a convolution by
    ``g W`` with the bias ``g (b - mean) + beta``: outputs and gradients of images are equal up to rounding.
    Folded weights are constants, computed on entry: no gradient reaches the parameters of a pair. Pairs that
    can no longer be folded are skipped. The network must not be used by other threads meanwhile.

    Args:
        network: the network that the pairs were found in, or one of the same structure.
        pairs: as found by :func:`find_pairs`.
        kept: what an earlier call yielded, refreshed; its weights are used unchanged.

    Yields:
        the foldings by the name of the layer.
    """
    foldings = {}
    with ExitStack() as stack:
        stack.enter_context(evaluating(network))
        modules = dict(network.named_modules())
        for pair in pairs:
            layer, norm = modules.get(pair.layer), modules.get(pair.norm)
            if layer is not None and norm is not None and can_fold(layer, norm):
                folding = (kept or {}).get(pair.layer) or Folding.of(layer, norm)
                stack.callback(layer._parameters.update, dict(layer._parameters))
                layer._parameters.update(folding.both)
                stack.callback(norm.__dict__.pop, "forward")
                norm.__dict__["forward"] = rest = _rest(norm)
                for act in rest:
                    if isinstance(act, _COPYING) and act.inplace:
                        stack.callback(setattr, act, "inplace", True)
                        act.inplace = False
                foldings[pair.layer] = folding
        yield foldings


def can_fold(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether both have plain parameters and a plain forward, without hooks."""
    weight = layer._parameters.get("weight")
    return (
        isinstance(layer, (nn.Conv2d, nn.Linear))
        and is_batchnorm(norm)
        and norm.running_mean is not None
        and norm.running_var is not None
        and type(weight) is nn.Parameter
        and not weight.is_meta
        and len(weight) == len(norm.running_mean)
        and not any(any(_hooks(module)) or "forward" in module.__dict__ for module in (layer, norm))
    )


def _hooks(module: nn.Module) -> tuple[dict[int, Any], ...]:
    forward = module._forward_hooks, module._forward_pre_hooks
    return *forward, module._backward_hooks, module._backward_pre_hooks


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
    dtype, device = weight.dtype, weight.device.type
    lowered = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    if lowered and dtype == torch.float32:
        dtype = torch.bfloat16  # once, not in every forward
    return {"weight": scaled.to(dtype), "bias": shift.to(dtype)}


_COPYING = nn.Hardtanh, nn.Hardswish, nn.Mish, nn.SiLU
"""Activations whose gradient needs their input, so that they copy what they overwrite in place."""


def _rest(norm: nn.Module) -> nn.Sequential:
    """What a norm does after normalizing: timm's variants have dropout and an activation.

    It is the same object every time, so that a compiled network is not compiled again.
    """
    found: list[Any] = [getattr(norm, name, None) for name in ("drop", "act")]
    steps = [step for step in found if step is not None and not isinstance(step, nn.Identity)]
    rest = _RESTS.get(norm)
    if rest is None or list(rest) != steps:
        rest = _RESTS[norm] = nn.Sequential(*steps)
    return rest


_RESTS: WeakKeyDictionary[nn.Module, nn.Sequential] = WeakKeyDictionary()


_log = logging.getLogger(__name__)

TOLERANCE = 1e-8
"""Largest difference in double precision, relative to the largest value."""


def find_pairs(network: nn.Module, images: Tensor) -> tuple[Pair, ...]:
    """The norms that can be folded into the layer before them, by their names in ``network``.

    A copy in double precision, with random statistics and affine parameters, shows which norm receives the
    output of which layer. Pairs whose folding changes logits or gradients of images, such as
    weight-standardized convolutions or outputs that are used twice, are dropped. Cost: three forwards and two
    backwards on the CPU, more if pairs have to be dropped, and none if there is no norm.

    Args:
        network: images to logits; not modified.
        images: at least 2 example images [B,3,H,W]; their values matter little.
    """
    name, norms = type(getattr(network, "net", network)).__name__, sum(map(is_batchnorm, network.modules()))
    found: tuple[Pair, ...] = ()
    if norms and _can_be_copied(network):
        with torch.inference_mode(False):
            try:
                found = _search(copy.deepcopy(network).cpu().double(), images.detach().cpu().double().clone())
            except Exception as error:  # other people's networks: one that cannot be copied, or made double
                _log.debug("%s: not folded, for its copy fails: %s", name, error)
    _log.debug("%s: %d of %d BatchNorm layers can be folded.", name, len(found), norms)
    return found


def _can_be_copied(network: nn.Module) -> bool:
    """Whether parameters are plain tensors, and no method of a module was replaced, which copies keep."""
    return all(type(p) is nn.Parameter and not p.is_meta for p in network.parameters()) and not any(
        isinstance(value, FunctionType) and hasattr(type(module), name) and name != "_compiled_call_impl"
        for module in network.modules()
        for name, value in module.__dict__.items()
    )


def _search(network: nn.Module, images: Tensor) -> tuple[Pair, ...]:
    _forget_watchers(network)
    generator = torch.Generator().manual_seed(0)
    _fill_zeros(network, generator)
    with evaluating(network):
        candidates = _follow(network, images, generator)
        expected = _response(network, images)
        found = _proven(network, candidates, images, expected)
        return found if _equal(network, found, images, expected) else ()


def _forget_watchers(network: nn.Module) -> None:
    """Remove hooks of users, who should not see the copy. Hooks of PyTorch compute weights."""
    for module in network.modules():
        for hooks in _hooks(module):
            for key, hook in list(hooks.items()):
                if not type(hook).__module__.startswith("torch.nn.utils."):
                    del hooks[key]


@torch.no_grad()
def _fill_zeros(network: nn.Module, generator: torch.Generator) -> None:
    """Randomize parameters that are all zero, as these hide what comes before them."""
    for p in network.parameters():
        if not p.any():
            p.copy_(torch.empty(p.shape, dtype=p.dtype).uniform_(0.5, 1.5, generator=generator))


@torch.no_grad()
def _follow(network: nn.Module, images: Tensor, generator: torch.Generator) -> tuple[Pair, ...]:
    """Pairs by data flow; norms get random parameters, and statistics near those of their input."""
    calls: Counter[str] = Counter()
    made: dict[int, tuple[str, Tensor]] = {}
    received: dict[str, str] = {}

    def random(like: Tensor, low: float, high: float) -> Tensor:
        return torch.empty(like.shape, dtype=like.dtype).uniform_(low, high, generator=generator)

    def after_layer(name: str, layer: nn.Module, args: Any, output: Any) -> None:
        calls[name] += 1
        if isinstance(output, Tensor):
            made[id(output)] = name, output  # kept alive, so that no other tensor gets its id

    def before_norm(name: str, norm: Any, args: tuple[Tensor]) -> None:
        (x,) = args
        calls[name] += 1
        if id(x) in made:
            received[name] = made[id(x)][0]
        axes = [axis for axis in range(x.ndim) if axis != 1]
        mean, variance = x.mean(axes), x.var(axes, correction=0)
        for mine, value in (
            (norm.running_mean, mean + variance.sqrt() * random(mean, -0.2, 0.2)),
            (norm.running_var, (variance + 1e-3) * random(mean, 0.5, 1.5)),
            (norm.weight, random(mean, 0.5, 1.5)),
            (norm.bias, random(mean, -0.3, 0.3)),
        ):
            if mine is not None:
                mine.copy_(value)

    with ExitStack() as stack:
        modules = dict(network.named_modules())
        for name, module in modules.items():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                after = partial(after_layer, name)
                stack.callback(module.register_forward_hook(after).remove)
            elif is_batchnorm(module):
                before = partial(before_norm, name)
                stack.callback(module.register_forward_pre_hook(before).remove)
        network(images)
    receivers = Counter(received.values())
    return tuple(
        Pair(layer, norm)
        for norm, layer in received.items()
        if calls[layer] == calls[norm] == receivers[layer] == 1 and can_fold(modules[layer], modules[norm])
    )


def _response(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of a weighted sum of them with respect to the images."""
    with torch.enable_grad():
        images = images.clone().requires_grad_()
        logits = network(images)
        mixture = torch.linspace(1, 2, logits.numel(), dtype=logits.dtype).view_as(logits)
        return logits.detach(), torch.autograd.grad((logits * mixture).sum(), images)[0]


def _equal(
    network: nn.Module, pairs: Sequence[Pair], images: Tensor, expected: tuple[Tensor, Tensor]
) -> bool:
    with folded(network, pairs):
        found = zip(_response(network, images), expected, strict=True)
    return all(bool((a - b).abs().max() <= TOLERANCE * b.abs().max()) for a, b in found)


def _proven(
    network: nn.Module, pairs: tuple[Pair, ...], images: Tensor, expected: tuple[Tensor, Tensor]
) -> tuple[Pair, ...]:
    """The pairs that can be folded, found by halving sets that change the network's response."""
    if not pairs or _equal(network, pairs, images, expected):
        return pairs
    if len(pairs) == 1:
        return ()
    half = len(pairs) // 2
    parts = pairs[:half], pairs[half:]
    return tuple(pair for part in parts for pair in _proven(network, part, images, expected))
