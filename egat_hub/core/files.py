"""Atomic writes of files and folders, and JSON that is read with care."""

from __future__ import annotations

import json
import math
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn


def write_whole(path: Path, text: str) -> None:
    """Write a text file; of several writers the last one wins."""
    with whole_file(path) as partial:
        partial.write_text(text)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place beside ``path``, with the same ending, whose file takes its place when the block ends well."""
    partial = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, *, may_hold: Callable[[str], bool]) -> Iterator[Path]:
    """Give an empty folder beside ``folder`` that takes its place when the block ends well.

    Args:
        folder: the place to fill; its parents are created.
        may_hold: which file names an existing folder may hold to be replaced.

    Raises:
        FileExistsError: something is there that is not to be replaced.
    """
    folder = folder.resolve()
    _check_replaceable(folder, may_hold)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        new.mkdir()
        yield new
        if folder.exists():
            os.rename(folder, old)
        try:
            os.rename(new, folder)
        except OSError:
            if old.exists():
                os.rename(old, folder)
            raise


def _check_replaceable(folder: Path, may_hold: Callable[[str], bool]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; name a folder.")
    foreign = sorted(entry.name for entry in folder.iterdir() if not may_hold(entry.name))
    if foreign:
        raise FileExistsError(
            f"{folder} would be replaced, but it holds {', '.join(foreign[:3])}, which this does not write; "
            "name a new folder."
        )


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
