"""Interleaved timing of jobs in one process, for recipes that measure speed."""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from egat_hub.methods import Method
from egat_hub.metrics.training_cost import STEP
from egat_hub.models import TimmModel

Job = Callable[[], object]


def interleaved(jobs: Mapping[str, Job], rounds: int) -> dict[str, list[float]]:
    """Time every job once per round, in shuffled order; return seconds by job and round.

    Uses CUDA events on a GPU and the clock otherwise. An additional first round warms up.

    Args:
        jobs: jobs by name.
        rounds: number of rounds, at least 1.
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
    """Description of the machine: processor, threads, and package versions."""
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


def random_batch(
    batch_size: int, image_size: int, num_classes: int, device: str | torch.device
) -> tuple[Tensor, Tensor]:
    """Random images [B,3,H,W] in [0,1], and labels [B] that cycle through the classes."""
    images = torch.rand(batch_size, 3, image_size, image_size, device=device)
    return images, torch.arange(batch_size, device=device) % num_classes


def training_pass(
    model: TimmModel, images: Tensor, labels: Tensor, *, precision: torch.dtype | None = None
) -> Job:
    """Forward and backward of the network alone, three forward-equivalents.

    Args:
        model: in train mode, on the device of the images.
        images: [B,3,H,W] in [0,1].
        labels: classes [B].
        precision: autocast type of the forward; none by default.
    """

    def one_pass() -> None:
        with _autocast(images, precision):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        model.zero_grad()

    return one_pass


def training_step(
    method: Method,
    images: Tensor,
    labels: Tensor,
    *,
    optimizer: Optimizer | None = None,
    precision: torch.dtype | None = None,
    accumulation: int = 1,
) -> Job:
    """Forward, backward and update on a fixed batch.

    Args:
        method: in train mode, on the device of the images.
        images: [B,3,H,W] in [0,1].
        labels: classes [B].
        optimizer: optimizer; Adam by default.
        precision: autocast type of the step; none by default.
        accumulation: forwards and backwards per update.
    """
    update = optimizer or torch.optim.Adam(method.parameters(), lr=1e-5)
    index, mask = torch.arange(len(images)), torch.ones_like(images[:, :1])

    def step() -> None:
        for _ in range(accumulation):
            with _autocast(images, precision):
                loss = method(images, labels, step=STEP, mask=mask, index=index)["loss"]
            loss.backward()
        update.step()
        update.zero_grad()

    return step


def _autocast(images: Tensor, precision: torch.dtype | None) -> AbstractContextManager[object]:
    return torch.autocast(images.device.type, precision) if precision else nullcontext()
