"""Files that appear whole or not at all, whoever else is writing them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
