"""Splits as PyTorch datasets, and batches that do not depend on processes or restarts."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from egat_hub.data.domains import Domain
from egat_hub.data.transforms import TrainingTransform, apply, evaluation_transform

Item = dict[str, torch.Tensor]


class EvaluationView(Dataset[Item]):
    """A split without augmentation.

    Items are dicts with ``image`` (float32 ``[3,s,s]`` in [0,1]), ``label`` and ``index`` (int64 scalars;
    ``index`` is the position in the domain) and, if the domain has masks, ``mask`` (float32 ``[1,s,s]``).

    Args:
        domain: source of the images.
        split: ``"train"``, ``"val"``, ``"test"`` or ``"all"``.
        image_size: s, in pixels.
    """

    def __init__(self, domain: Domain, split: str, *, image_size: int) -> None:
        self.domain = domain
        self.split = split
        self.indices = domain.indices(split)
        self._transform = evaluation_transform(image_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Item:
        return _item(self.domain, int(self.indices[position]), self._transform)

    def drawn(self, count: int, *, seed: int = 0) -> EvaluationView:
        """A random subset of ``count`` images, or all if there are fewer.

        With the same seed, a larger subset contains a smaller one.
        """
        view = copy.copy(self)
        order = np.random.default_rng(seed).permutation(len(self.indices))
        view.indices = self.indices[np.sort(order[:count])]
        return view


class TrainingView(Dataset[Item]):
    """A split for training, indexed by ``(position, step)``.

    Items are those of :class:`EvaluationView` plus ``frame`` (float32 ``[5]``): ``top, left, height, width``
    of the crop relative to the image, and 1 if it is flipped.

    Augmentation depends only on seed, step and position and does not touch the global random state, so
    batches do not depend on workers, processes or restarts.

    Args:
        domain: source of the images.
        split: ``"train"`` in most cases; positions are relative to the split.
        image_size: s, in pixels.
        seed: seed of the augmentation.
    """

    def __init__(self, domain: Domain, split: str = "train", *, image_size: int, seed: int) -> None:
        self.domain = domain
        self.indices = domain.indices(split)
        self._seed = seed
        self._transform = TrainingTransform(image_size)

    def __len__(self) -> int:
        return len(self.indices)

    def cached(self, *, limit: int) -> TrainingView:
        """A view that decodes images now and holds up to ``limit`` bytes of them in memory."""
        view = copy.copy(self)
        view.domain = self.domain.cached(self.indices, limit=limit)
        return view

    def __getitem__(self, key: tuple[int, int]) -> Item:
        position, step = key
        entropy = np.random.SeedSequence([self._seed, step, position]).generate_state(1)[0]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(entropy))  # torch.manual_seed would reseed the GPU too
            item = _item(self.domain, int(self.indices[position]), self._transform)
        return item | {"frame": self._transform.frame}


def _item(domain: Domain, index: int, transform: torch.nn.Module) -> Item:
    image, mask = apply(transform, *domain.load(index))
    item = {"image": image, "label": torch.tensor(int(domain.labels[index])), "index": torch.tensor(index)}
    return item if mask is None else item | {"mask": mask}


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

    def __init__(self, steps: range, share: slice, **order: int) -> None:
        self.steps, self.share, self.order = steps, share, order

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            yield [(int(position), step) for position in batch_positions(step, **self.order)[self.share]]


def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """Sort raw bits: these, unlike ``permutation``, are stable across NumPy versions."""
    bits = np.random.Philox(np.random.SeedSequence([seed, int(epoch)])).random_raw(size)
    return np.argsort(bits, kind="stable")
