"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


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
