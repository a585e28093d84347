"""Atomic writes of files and folders, and bounded reading of JSON."""

from __future__ import annotations

import json
import math
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def atomic_write_text(path: Path, text: str) -> None:
    """Write a text file atomically; of several concurrent writers the last one wins."""
    with atomic_file(path) as partial:
        partial.write_text(text)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which the file there replaces on success."""
    partial = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path, *, may_hold: Callable[[str], bool]) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``folder``, which it replaces on success.

    Args:
        folder: the folder to write; parents are created.
        may_hold: whether an existing folder that holds a file of this name may be replaced.

    Raises:
        FileExistsError: ``folder`` is a file, or holds files that must not be replaced.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; name a folder.")
    foreign = sorted(e.name for e in folder.iterdir() if not may_hold(e.name)) if folder.exists() else []
    if foreign:
        raise FileExistsError(
            f"Refusing to replace {folder}: it holds {', '.join(foreign[:3])}, which egat_hub did not write. "
            "Name a new folder."
        )
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


MAX_BYTES, MAX_DEPTH = 10_000_000, 32
"""Limits of JSON files; those of a model have a few thousand bytes."""


def read_json(path: Path) -> Any:
    """Read a JSON file, bounded in size and depth; numbers must be finite and integers fit into 64 bits.

    Raises:
        ValueError: the message names the file.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path} has {size:,} bytes; JSON files of a model have at most {MAX_BYTES:,}.")
    try:
        content = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite, parse_int=_integer
        )
        if _depth(content) > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); save or download it again.") from error
    return content


def read_json_object(path: Path) -> dict[str, Any]:
    """As :func:`read_json`, for a file that holds an object."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"Expected a JSON object in {path}, got a {type(content).__name__}.")
    return content


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= 2**63:
        raise ValueError(f"{text[:20]} does not fit into 64 bits")
    return int(text)


def _depth(content: Any) -> int:
    items = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return 1 + max(map(_depth, items), default=0)
