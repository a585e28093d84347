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


def non_default(config: Any) -> dict[str, Any]:
    """As :func:`to_dict`, but only fields that differ from their defaults: what identifies a run.

    A field that is added later changes no identity while it has its default.
    """
    found = {}
    for field in dataclasses.fields(config):
        value, make = getattr(config, field.name), field.default_factory
        default = field.default if make is dataclasses.MISSING else make()
        if value != default:
            found[field.name] = non_default(value) if dataclasses.is_dataclass(value) else value
    return json.loads(json.dumps(found))


def from_dict(cls: type[C], values: Mapping[str, Any]) -> C:
    """Build ``cls`` (a config dataclass) from what :func:`to_dict` gave; missing fields take defaults.

    Raises:
        ValueError: a key that ``cls`` does not have, with the known ones, or a value of another type.
    """
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(typing.cast(Any, cls))}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
    restored = {name: _restore(hints[name], value) for name, value in values.items()}
    for name, value in restored.items():
        _check_type(name, hints[name], value)
    return cls(**restored)


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


def digest(config: Any) -> str:
    """10 hexadecimal digits of a hash of a config dataclass or a JSON-able object."""
    content = to_dict(config) if dataclasses.is_dataclass(config) else config
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _restore(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_dict(typing.cast(Any, hint), value)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        return tuple(value)
    if hint is float and type(value) is int:
        return float(value)
    return value


def _check_type(name: str, hint: Any, value: Any) -> None:
    """Refuse a scalar of another type than its field's; YAML, for one, reads ``1e-3`` as text."""
    allowed = {option for option in (hint, *typing.get_args(hint)) if option in (bool, int, float, str)}
    scalar = type(value) in (bool, int, float, str)
    if allowed and scalar and type(value) not in allowed:
        kinds = " or ".join(sorted(kind.__name__ for kind in allowed))
        remedy = "; in YAML write 1.0e-3 for 1e-3" if float in allowed and isinstance(value, str) else ""
        raise ValueError(f"Expected {name} of type {kinds}, got {value!r}{remedy}.")
