"""Measurements that are kept in a file, and not made again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import PartialState

from egat_hub.core.distributed import main_says, rank
from egat_hub.core.results import Outcome, read_outcomes, write_outcomes


def kept(path: Path, measure: Callable[[Path], list[Outcome]]) -> list[Outcome]:
    """What is in a file, or what ``measure`` finds, which is then there; every process calls this.

    Args:
        path: the file.
        measure: takes the folder of a journal, which is removed once the file is there.
    """
    if main_says(path.exists):
        return read_outcomes(path)
    found = measure(journal_of(path))
    keep(path, found)
    return found


def keep(path: Path, measured: Sequence[Outcome]) -> None:
    """Write what was measured and remove its journal; every process calls this."""
    if rank() == 0:
        write_outcomes(path, measured)
        shutil.rmtree(journal_of(path), ignore_errors=True)
    PartialState().wait_for_everyone()


def journal_of(path: Path) -> Path:
    """Folder of the batches that are measured, until the file is written."""
    return path.with_suffix(".journal")
