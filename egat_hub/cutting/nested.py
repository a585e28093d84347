"""Tensors in tuples, lists and dictionaries, as modules return them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


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
