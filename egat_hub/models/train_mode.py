"""Train and eval mode, and other states of a network, switched temporarily and restored exactly."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm


def is_batchnorm(module: nn.Module) -> TypeGuard[_BatchNorm]:
    """Whether a module keeps running statistics of batches (timm's BatchNorm variants included)."""
    return isinstance(module, _BatchNorm)


def prefers_channels_last(device: torch.device) -> bool:
    """Whether ``torch.channels_last`` suits convolutions: on CPUs, and in autocast on CUDA devices."""
    return device.type == "cpu" or (device.type == "cuda" and torch.is_autocast_enabled("cuda"))


def evaluating(module: nn.Module) -> AbstractContextManager[None]:
    """Eval mode inside: no dropout, and BatchNorm by its running statistics, which are not updated."""
    return _eval_mode(list(module.modules()))


def without_dropout(module: nn.Module) -> AbstractContextManager[None]:
    """Dropout and stochastic depth off inside; BatchNorm is not affected."""
    return _eval_mode([m for m in module.modules() if not is_batchnorm(m)])


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast inside, and no TF32 in convolutions, whatever the caller has set."""
    cudnn = torch.backends.cudnn
    kept = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
    with torch.autocast(device.type, enabled=False), cudnn.flags(**kept, allow_tf32=False):
        yield


def frozen(module: nn.Module) -> AbstractContextManager[Any]:
    """Parameters are constants inside: gradients pass through the module, but not into it."""
    return _switched_off(list(module.parameters()), "requires_grad")


def forget_biases(modules: Iterable[nn.Module]) -> None:
    """Drop the attention biases that LeViT, TinyViT, EfficientFormer and others cache in eval mode.

    The cache holds the graph of the biases, and is not updated with them until ``train()`` is called.
    """
    for m in modules:
        if getattr(m, "attention_bias_cache", None):
            m.attention_bias_cache = {}  # type: ignore[assignment]


def without_recording(module: nn.Module) -> AbstractContextManager[Any]:
    """BatchNorm in train mode still normalizes by the batch inside, but keeps its running statistics."""
    norms = [m for m in module.modules() if is_batchnorm(m) and m.training]
    return _switched_off(norms, "track_running_stats")


def twice_differentiable(wanted: bool = True) -> AbstractContextManager[None]:
    """Attention as matrix products inside, where ``wanted``: fused kernels have no second derivative."""
    return sdpa_kernel(SDPBackend.MATH) if wanted else nullcontext()


_lock = threading.Lock()
_switched: Counter[tuple[int, str]] = Counter()
"""How many callers currently have an attribute of an object switched off."""


@contextmanager
def _switched_off(items: Sequence[Any], name: str) -> Iterator[bool]:
    """An attribute of all items is False inside; where it was True, the last thread to leave restores it.

    Yields whether anything was switched.
    """
    with _lock:
        mine = [item for item in items if getattr(item, name) or (id(item), name) in _switched]
        for item in mine:
            _switched[id(item), name] += 1
            setattr(item, name, False)
    try:
        yield bool(mine)
    finally:
        with _lock:
            for item in mine:
                _switched[id(item), name] -= 1
                if not _switched[id(item), name]:
                    del _switched[id(item), name]
                    setattr(item, name, True)


@contextmanager
def _eval_mode(modules: list[nn.Module]) -> Iterator[None]:
    """Biases cached in a temporary eval mode would be stale after the next training step."""
    switched = False
    try:
        with _switched_off(modules, "training") as switched:
            yield
    finally:
        if switched:
            forget_biases(m for m in modules if m.training)
