"""Runs that are shared among all who start the same command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from accelerate import PartialState

from egat_hub.collective import gather_objects, main_says, rank
from egat_hub.experiments.cell import Bench, Cell
from egat_hub.experiments.claim import Claim, owner

PAUSE = 10.0
"""Seconds between two looks at what others are doing."""


def complete_all(
    bench: Bench, cells: Iterable[Cell], done: Callable[[Cell], bool], work: Callable[[Cell], Any]
) -> None:
    """Work on every cell that nobody else is at, until all are done, whoever did them.

    What a process had claimed that died is taken over. The processes of one ``accelerate launch`` claim as
    one; each of them calls this.

    Args:
        bench: has the folder of every cell.
        cells: the first ones first; of equal ones, one is worked on.
        done: whether a cell is, asked in the main process.
        work: does it, in every process.
    """
    state, told = PartialState(), set[str]()
    left = every = list({cell.name: cell for cell in cells}.values())
    while left := [cell for cell in left if not _answer(done, cell)]:
        worked = False
        for cell in left:
            claim = Claim.take(bench.output / cell.name) if rank() == 0 else None
            try:
                if not gather_objects(claim is not None)[0] or _answer(done, cell):
                    continue
                state.print(f"[{every.index(cell) + 1}/{len(every)}] {cell.name}")
                work(cell)
                worked = True
            finally:
                if claim is not None:
                    claim.release()
        if not worked:
            for cell in left:
                if cell.name not in told:
                    state.print(f"Waiting for {cell.name}: {owner(bench.output / cell.name) or 'just done'}.")
            told.update(cell.name for cell in left)
            time.sleep(PAUSE)


def _answer(done: Callable[[Cell], bool], cell: Cell) -> bool:
    return main_says(lambda: done(cell))
