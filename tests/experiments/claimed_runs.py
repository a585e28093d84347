"""Three processes share twenty cells; one of them is killed in the middle of its third.

python -m tests.experiments.claimed_runs FOLDER
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import tqdm
from accelerate import PartialState

from egat_hub.experiments import sharing

CELLS = [f"cell{number:02d}" for number in range(20)]


def share(folder: Path, lives: int) -> None:
    """Take part in the work; after so many cells, die while at one."""
    worked = 0

    def note(cell: Any, what: str) -> None:
        with (folder / cell.name / "notes").open("a") as file:
            file.write(f"{what} {os.getpid()}\n")

    def work(cell: Any) -> None:
        nonlocal worked
        note(cell, "begun")
        time.sleep(0.03)
        if worked == lives:
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / cell.name / "done").touch()
        note(cell, "done")
        worked += 1

    bench = cast(Any, SimpleNamespace(folder=lambda cell: folder / cell.name))
    cells = [cast(Any, SimpleNamespace(name=name)) for name in CELLS]
    sharing.complete_all(bench, cells, lambda cell: (folder / cell.name / "done").exists(), work)


def main(folder: Path) -> None:
    tqdm.tqdm.monitor_interval = 0  # no thread, so that forking is safe
    tqdm.tqdm.set_lock(threading.RLock())
    sharing.PAUSE = 0.02
    PartialState(cpu=True)
    children = []
    for lives in (2, len(CELLS), len(CELLS)):
        child = os.fork()
        if not child:
            code = 1
            try:
                share(folder, lives)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]  # the killed one first, or it stays a zombie
    assert os.WTERMSIG(codes[0]) == signal.SIGKILL, codes
    assert codes[1:] == [0, 0], codes


if __name__ == "__main__":
    main(Path(sys.argv[1]))
