"""Runs that are shared among all who start the same command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from accelerate import PartialState

from egat_hub.core.distributed import main_says, rank, world_size
from egat_hub.core.files import atomic_write_text
from egat_hub.experiments.cell import Bench, Cell
from egat_hub.experiments.claim import claimed_if_free, owner

FAILED = "failed.txt"
"""File in the folder of a run that cannot be finished, with the reason; without it the run is tried again."""

PAUSE = 10.0
"""Seconds between two looks at what others are doing."""


def complete_all(
    bench: Bench, cells: Iterable[Cell], done: Callable[[Cell], bool], work: Callable[[Cell], Any]
) -> None:
    """Work on every cell that nobody else is at, until all are done, whoever did them.

    What a process had claimed that died is taken over. A run whose loss or gradient is no longer finite is
    left out, here and wherever else the command runs, and named at the end. The processes of one
    ``accelerate launch`` claim as one; each of them calls this.

    Args:
        bench: has the folder of every cell.
        cells: the first ones first; of equal ones, one is worked on.
        done: whether a cell is, asked in the main process.
        work: does it, in every process.

    Raises:
        FloatingPointError: that of a run which several processes work on; they cannot leave it together.
    """
    state, told = PartialState(), set[str]()
    left = every = list({cell.name: cell for cell in cells}.values())

    def over(cell: Cell) -> bool:
        return done(cell) or (bench.folder(cell) / FAILED).exists()

    while left := [cell for cell in left if not _answer(over, cell)]:
        worked = False
        for cell in left:
            with claimed_if_free(bench.folder(cell)) as ours:
                if not ours or _answer(over, cell):
                    continue
                state.print(f"[{every.index(cell) + 1}/{len(every)}] {cell.name}")
                worked = True
                try:
                    work(cell)
                except FloatingPointError as error:
                    if world_size() > 1:
                        raise
                    atomic_write_text(bench.folder(cell) / FAILED, f"{error}\n")
        if not worked:
            for cell in left:
                if cell.name not in told:
                    state.print(f"Waiting for {cell.name}: {owner(bench.folder(cell)) or 'just done'}.")
            told.update(cell.name for cell in left)
            time.sleep(PAUSE)
    for cell in every:
        reason = bench.folder(cell) / FAILED
        if rank() == 0 and reason.exists() and not done(cell):
            print(f"Left out: {cell.name}. {reason.read_text().strip()} Remove {reason} to try it again.")


def _answer(done: Callable[[Cell], bool], cell: Cell) -> bool:
    return main_says(lambda: done(cell))
