"""Training batches that do not depend on the number of processes or on restarts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from egat_hub.data.views import Item, TrainingView


def batch_positions(step: int, *, batch_size: int, size: int, seed: int) -> np.ndarray:
    """Positions ``[batch_size]`` of the global batch of a step; depends on the arguments only.

    Epochs are permutations of ``range(size)``, concatenated: no image is repeated within an epoch and the
    last incomplete batch is not dropped.

    Args:
        step: training step, from 0.
        batch_size: images per step over all processes.
        size: number of images; may be smaller than a batch.
        seed: seed of the order.
    """
    slots = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(slots, size)
    return np.concatenate([_permutation(seed, e, size)[offsets[epochs == e]] for e in np.unique(epochs)])


def training_loader(
    view: TrainingView,
    *,
    batch_size: int,
    steps: int,
    start_step: int = 0,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
) -> DataLoader[Item]:
    """A loader of the batches of steps ``start_step`` to ``steps - 1`` for one process.

    Each process gets a contiguous slice of the global batch, so do not pass the loader to
    ``accelerator.prepare``. To resume, set ``start_step``. The global random state is not touched.

    Args:
        view: training images.
        batch_size: images per step over all processes.
        steps: total number of steps.
        start_step: first step.
        seed: seed of the order.
        rank: rank of this process.
        world_size: number of processes.
        workers: number of worker processes; 0 loads in the main process.

    Raises:
        ValueError: ``batch_size`` is not divisible by ``world_size``.
    """
    if batch_size % world_size:
        raise ValueError(
            f"batch_size counts all processes and must be divisible by their number, got {batch_size} for "
            f"{world_size}. Use {-(-batch_size // world_size) * world_size}, or another number of processes."
        )
    share = slice(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)
    batches = _StepSampler(range(start_step, steps), share, batch_size=batch_size, size=len(view), seed=seed)
    return DataLoader(
        view,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
    )


class _StepSampler(Sampler[list[tuple[int, int]]]):
    """Yields the keys ``(position, step)`` of this process for each step."""

    def __init__(self, steps: range, share: slice, *, batch_size: int, size: int, seed: int) -> None:
        self.steps = steps
        self.share = share
        self.order = {"batch_size": batch_size, "size": size, "seed": seed}

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            yield [(int(position), step) for position in batch_positions(step, **self.order)[self.share]]


def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """Sort raw bits: these, unlike ``permutation``, are stable across NumPy versions."""
    bits = np.random.Philox(np.random.SeedSequence([seed, int(epoch)])).random_raw(size)
    return np.argsort(bits, kind="stable")
