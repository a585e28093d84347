"""Log and speed of a run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from egat_hub.core.files import atomic_write_text

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def check_trackers(names: Iterable[str]) -> None:
    """Check that trackers are installed.

    Raises:
        ValueError: a tracker that Accelerate does not know.
        ImportError: a tracker whose package is not installed.
    """
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ValueError(f"No tracker {name!r}. Known: {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}.")
        if name not in get_available_trackers():
            raise ImportError(f"Tracker {name!r} is not installed: pip install {name}")


class Log:
    """Appends one JSON object per line to a file, in the main process, and logs it to Accelerate's trackers.

    Lines after ``step``, from an interrupted run, are removed.
    """

    def __init__(self, path: Path, step: int, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._path = path
        if accelerator.is_main_process and path.exists():
            kept = [line for line in path.read_text().splitlines() if step and _step(line) <= step]
            atomic_write_text(path, "".join(f"{line}\n" for line in kept))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line."""
        if self._accelerator.is_main_process:
            with self._path.open("a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        self._accelerator.log(dict(values), step=step)


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):  # incomplete after an interruption
        return float("inf")


class Speed:
    """Images per second, without validation and checkpoints, and peak memory, for log lines."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._images, self._seconds, self._waited, self._started = 0, 0.0, 0.0, 0.0
        if accelerator.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(accelerator.device)

    def start(self) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def loaded(self) -> None:
        """Note that the images of a step are loaded."""
        self._waited += time.perf_counter() - self._started

    def stop(self, images: int) -> None:
        """Note the end of a step with this many images over all processes."""
        self._seconds += time.perf_counter() - self._started
        self._images += images

    def values(self) -> dict[str, float]:
        """Images per second since the last call, the share of time spent waiting for them, and peak memory.

        Memory is the largest of all processes in MiB: that allocated by PyTorch on a CUDA device, or resident
        memory on a CPU. Every process calls this.
        """
        speed, loading = self._images / self._seconds, self._waited / self._seconds
        found = {"images_per_second": round(speed, 2), "loading": round(loading, 4)}
        self._images, self._seconds, self._waited = 0, 0.0, 0.0
        peak = torch.tensor([_peak(self._accelerator.device)], device=self._accelerator.device)
        most = self._accelerator.gather(peak).max().item()
        return {**found, "peak_memory_mib": round(most, 1)} if most else found


def _peak(device: torch.device) -> float:
    """Peak memory in MiB; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if device.type != "cpu" or resource is None:
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
