"""JSON files of unknown origin, read with bounds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

MAX_BYTES = 10_000_000
"""Largest JSON file that is read; those of a model are some thousand bytes."""

MAX_DEPTH = 32
MAX_INTEGER = 2**63


def read_json(path: Path) -> Any:
    """The content of a JSON file, bounded in size, depth and numbers.

    Raises:
        ValueError: no JSON, more than :data:`MAX_BYTES`, nested deeper than :data:`MAX_DEPTH`, or a number
            that is not finite or does not fit into 64 bits; the message names the file.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(
            f"{path} has {size:,} bytes, more than the {MAX_BYTES:,} that are read of a JSON file; it is not "
            "as egat_hub writes it. Save or fetch it again."
        )
    try:
        content = json.loads(
            path.read_text(encoding="utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
        _check_depth(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); save or fetch it again.") from error
    return content


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        ValueError: as :func:`read_json`, or another JSON type; the message names the file.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"Expected a JSON object in {path}, got a {type(content).__name__}.")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large")
    return value


def _integer(text: str) -> int:
    value = int(text) if len(text) < 25 else MAX_INTEGER
    if abs(value) >= MAX_INTEGER:
        raise ValueError(f"{text[:20]}... does not fit into 64 bits")
    return value


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for value in level
            if isinstance(value, (dict, list))
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
