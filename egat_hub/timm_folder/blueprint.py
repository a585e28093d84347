"""A network without memory, to see how large it is before it is built."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from egat_hub.timm_folder.config import NetworkConfig
from egat_hub.timm_folder.weights import MAX_TENSORS

SPARE = 2**25
"""How many numbers a network may hold beyond twice those of its weights: tables that are not saved."""


def blueprint(config: NetworkConfig, *, numbers: int) -> nn.Module:
    """The network of a config on the meta device, where tensors have a shape and no memory.

    Building stops as soon as the network outgrows its weights, so that a config cannot ask for more than the
    file beside it holds.

    Args:
        config: which network.
        numbers: how many numbers the file of its weights holds.

    Raises:
        ValueError: timm cannot build the network, or it holds far more than ``numbers``.
    """
    with torch.device("meta"), _counting(2 * numbers + SPARE):
        return config.build()


@contextmanager
def _counting(limit: int) -> Iterator[None]:
    thread, used, tensors = threading.get_ident(), 0, 0

    def count(module: nn.Module, name: str, tensor: Any) -> None:
        nonlocal used, tensors
        if tensor is None or threading.get_ident() != thread:
            return
        used, tensors = used + tensor.numel(), tensors + 1
        if used > limit or tensors > MAX_TENSORS:
            raise ValueError(
                f"the network has more than {MAX_TENSORS:,} tensors"
                if tensors > MAX_TENSORS
                else f"the network holds more than the {limit:,} numbers that its weights allow"
            )

    handles = (
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
