"""Frozen dataclasses that describe a run, their round trip through plain dicts, and their digest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as nested dicts and lists of JSON types; tuples become lists."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(cls: type[C], values: Mapping[str, Any]) -> C:
    """Build ``cls`` (a config dataclass) from what :func:`to_dict` gave; missing fields take defaults.

    Raises:
        ValueError: a key that ``cls`` does not have; the message lists the known ones.
    """
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(typing.cast(Any, cls))}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
    return cls(**{name: _restore(hints[name], value) for name, value in values.items()})


def check_choices(config: Any) -> None:
    """Refuse a value that is not among those of its field's ``Literal`` type.

    Raises:
        ValueError: the message names the field and the choices.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        hint, value = hints[field.name], getattr(config, field.name)
        options = [hint, *typing.get_args(hint)] if value is not None else []
        choices = [c for o in options if typing.get_origin(o) is typing.Literal for c in typing.get_args(o)]
        if choices and value not in choices:
            raise ValueError(f"Expected {field.name} among {', '.join(map(repr, choices))}, got {value!r}.")


def digest(config: Any, length: int = 10) -> str:
    """A short hash of a config dataclass or a JSON-able object: equal content, equal digest."""
    content = to_dict(config) if dataclasses.is_dataclass(config) else config
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _restore(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_dict(typing.cast(Any, hint), value)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        return tuple(value)
    return value
