"""Train and eval modes, and other ways to run a network, switched for a moment and put back exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeGuard

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


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside: no dropout, BatchNorm by its running statistics, which stay as they are."""
    with _switched_off(module, lambda m: True):
        yield


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """Dropout and stochastic depth off inside, BatchNorm as it was."""
    with _switched_off(module, lambda m: not is_batchnorm(m)):
        yield


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast inside, and no TF32 in convolutions, whatever the caller has set."""
    cudnn = torch.backends.cudnn
    kept = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
    with torch.autocast(device.type, enabled=False), cudnn.flags(**kept, allow_tf32=False):
        yield


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Parameters are constants inside: gradients pass through the module, but not into it."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)


def forget_biases(module: nn.Module) -> None:
    """Drop the attention biases that LeViT, TinyViT, EfficientFormer and others keep from forward to forward.

    They keep them in eval mode, with their graph, until ``train()`` is called, also where the parameters
    that they were made of have changed since.
    """
    for m in module.modules():
        if getattr(m, "attention_bias_cache", None):
            m.attention_bias_cache = {}  # type: ignore[assignment]


@contextmanager
def without_recording(module: nn.Module) -> Iterator[None]:
    """BatchNorm in train mode as always inside, but its running statistics stay as they are."""
    recording = [m for m in module.modules() if is_batchnorm(m) and m.training and m.track_running_stats]
    for m in recording:
        m.track_running_stats = False
    try:
        yield
    finally:
        for m in recording:
            m.track_running_stats = True


@contextmanager
def twice_differentiable(wanted: bool = True) -> Iterator[None]:
    """Attention as matrix products inside, where ``wanted``: fused kernels have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH) if wanted else nullcontext():
        yield


@contextmanager
def _switched_off(module: nn.Module, which: Callable[[nn.Module], bool]) -> Iterator[None]:
    training = [m for m in module.modules() if m.training and which(m)]
    for m in training:
        m.training = False
    forget_biases(module)
    try:
        yield
    finally:
        forget_biases(module)
        for m in training:
            m.training = True
