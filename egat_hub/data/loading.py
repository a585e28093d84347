"""Batches for a range of training steps, the same on any number of processes and after any resume."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from egat_hub.data.views import Item, TrainingView


def batch_positions(step: int, *, batch_size: int, size: int, seed: int) -> np.ndarray:
    """Positions ``[batch_size]`` of a step's global batch, a pure function of its arguments.

    Epochs are permutations of ``range(size)`` laid end to end, so every image is used once before any
    is used again and no tail is dropped.

    Args:
        step: counts from 0.
        batch_size: images per step over all processes.
        size: images in the split; may be smaller than a batch.
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
    """A loader of the batches of steps ``start_step`` to ``steps - 1``, sharded already.

    Each process gets its contiguous slice of the global batch; do not let a launcher shard the loader
    again. Resuming is ``start_step``: there is no state to save. The global random state is not touched.

    Args:
        view: the images.
        batch_size: images per step over all processes.
        steps: step to stop before.
        start_step: first step.
        seed: seed of the order.
        rank: this process, from 0.
        world_size: number of processes.
        workers: loading processes; 0 loads in this one.

    Raises:
        ValueError: ``batch_size`` cannot be divided by ``world_size``.
    """
    if batch_size % world_size:
        raise ValueError(
            f"batch_size is global and must divide by the number of processes, got {batch_size} for "
            f"{world_size}. Use {-(-batch_size // world_size) * world_size}, or another number of processes."
        )
    share = slice(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)
    batches = _Steps(range(start_step, steps), share, batch_size=batch_size, size=len(view), seed=seed)
    return DataLoader(
        view,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
    )


class _Steps(Sampler[list[tuple[int, int]]]):
    """Yields, per step, this process's keys ``(position, step)``."""

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
    """Sorts raw bits, as NumPy keeps those alike across versions and ``permutation`` not."""
    bits = np.random.Philox(np.random.SeedSequence([seed, int(epoch)])).random_raw(size)
    return np.argsort(bits, kind="stable")
