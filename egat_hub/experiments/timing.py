"""Times that can be compared: taken in turns, within one process."""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import torch

Job = Callable[[], object]


def interleaved(jobs: Mapping[str, Job], rounds: int) -> dict[str, list[float]]:
    """Seconds of every job in every round, each of which runs all of them once in shuffled order.

    On a GPU the time is that between two events in its stream, else that of the clock. A first round warms up
    and does not count.

    Args:
        jobs: what to time, by name.
        rounds: at least 1.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    order, shuffled = list(jobs), random.Random(0)
    for number in range(rounds + 1):
        shuffled.shuffle(order)
        for name in order:
            seconds = _seconds(jobs[name])
            if number:
                times[name].append(seconds)
    return times


def ratio(times: Sequence[float], other: Sequence[float]) -> str:
    """Median and range of the ratios within rounds."""
    ratios = [a / b for a, b in zip(times, other, strict=True)]
    return f"{median(ratios):.3f} [{min(ratios):.3f}..{max(ratios):.3f}]"


def machine(device: str, packages: Sequence[str] = ("torch", "timm")) -> str:
    """What times depend on: processor, threads, and versions of packages that are installed."""
    name = torch.cuda.get_device_name() if device == "cuda" else _processor()
    threads = "" if device == "cuda" else f", {torch.get_num_threads()} threads of {os.cpu_count()} cores"
    return f"{name}{threads}; python {platform.python_version()}, {', '.join(map(_versioned, packages))}"


def _seconds(job: Job) -> float:
    if not torch.cuda.is_available():
        begin = time.perf_counter()
        job()
        return time.perf_counter() - begin
    torch.cuda.synchronize()
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    job()
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after) / 1000


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _versioned(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"
