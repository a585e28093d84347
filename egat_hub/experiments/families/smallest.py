"""The families of timm, and the smallest classifier of each."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

CLASSES = 5


def smallest(family: str) -> tuple[str, int]:
    """Name and number of parameters of the smallest network of a family that can be given classes.

    Networks are built without memory, and no further than the smallest one so far.

    Raises:
        ValueError: timm does not know the family, or there is no classifier in it.
    """
    if family not in timm.list_modules():
        raise ValueError(f"timm has no family {family!r}; there are {', '.join(timm.list_modules())}.")
    names = [name for name in timm.list_models(module=family) if not name.startswith("test_")]
    best, least = None, 2**62
    for name in sorted(names, key=len):
        try:
            with torch.device("meta"), _at_most(least), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                net: Any = timm.create_model(name, num_classes=CLASSES)
        except Exception:  # larger than the best, or not a network that takes classes
            continue
        count = sum(parameter.numel() for parameter in net.parameters())
        if getattr(net, "num_classes", 0) == CLASSES and count < least:
            best, least = name, count
    if best is None:
        raise ValueError(f"No network of {family} can be given classes.")
    return best, least


class _TooLarge(Exception):
    pass


@contextmanager
def _at_most(limit: int) -> Iterator[None]:
    used = 0

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal used
        used += 0 if parameter is None else parameter.numel()
        if used > limit:
            raise _TooLarge

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
