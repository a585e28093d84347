"""A training log of JSON lines, and any Accelerate tracker."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from accelerate import Accelerator


class Log:
    """Appends one JSON object a line to ``log.jsonl``, from the main process.

    Args:
        path: the file; lines of steps after ``step`` (of a run that was stopped) are dropped, and all of them
            where the run starts over.
        step: step the run goes on from.
        accelerator: its trackers get every line too.
    """

    def __init__(self, path: Path, step: int, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._path = path
        if accelerator.is_main_process and path.exists():
            kept = [line for line in path.read_text().splitlines() if step and _step(line) <= step]
            partial = path.with_name(path.name + ".partial")
            partial.write_text("".join(f"{line}\n" for line in kept))
            os.replace(partial, path)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line."""
        if self._accelerator.is_main_process:
            with self._path.open("a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        self._accelerator.log(dict(values), step=step)


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):  # cut off when the run was killed
        return float("inf")
