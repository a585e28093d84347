"""Random draws that depend on (seed, step, sample) alone.

Attack starts, mixup coefficients and guide noise are drawn sample by sample from generators keyed by the
seed, the training step and the index of the image. So a resumed run, another batch composition or another
number of processes sees the same numbers, without any state to save.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from integers and names, well mixed (NumPy's ``SeedSequence``)."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in parts]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]) >> 1


@dataclass(frozen=True)
class SampleRandom:
    """Keyed random numbers for a batch.

    Attributes:
        seed: seed of the run.
        index: stable, unique, non-negative number of every image of the batch.
        step: training step (0 in evaluation).
    """

    seed: int
    index: tuple[int, ...]
    step: int = 0

    @classmethod
    def by_position(cls, images: Tensor) -> SampleRandom:
        """Those of seed 0 and the position in the batch, for images [B, ...] that nobody numbered."""
        return cls(0, tuple(range(len(images))))

    def __len__(self) -> int:
        return len(self.index)

    def select(self, keep: Tensor) -> SampleRandom:
        """The same draws for the samples where the boolean mask ``keep`` [B] is true."""
        return replace(self, index=tuple(i for i, k in zip(self.index, keep.tolist(), strict=True) if k))

    def uniform(self, like: Tensor, low: float, high: float, purpose: str) -> Tensor:
        """Uniform numbers of the shape, device and dtype of ``like`` [B, ...], whatever its memory format."""
        out = torch.empty_like(like, memory_format=torch.contiguous_format)
        for row, generator in self._rows(out, purpose):
            row.uniform_(low, high, generator=generator)
        return out

    def normal(self, like: Tensor, purpose: str) -> Tensor:
        """Standard normal numbers of the shape, device and dtype of ``like``, whatever its memory format."""
        out = torch.empty_like(like, memory_format=torch.contiguous_format)
        for row, generator in self._rows(out, purpose):
            row.normal_(generator=generator)
        return out

    def poisson(self, rates: Tensor, purpose: str) -> Tensor:
        """Poisson counts of the means ``rates`` [B, ...], of their shape, device and dtype."""
        counts = torch.empty_like(rates, memory_format=torch.contiguous_format)
        for (row, generator), means in zip(self._rows(counts, purpose), rates, strict=True):
            row.copy_(torch.poisson(means.contiguous(), generator=generator))
        return counts

    def beta(self, alpha: float, purpose: str) -> Tensor:
        """One Beta(alpha, alpha) number a sample, float32 [B] on the CPU."""
        draws = [np.random.default_rng(self._key(i, purpose)).beta(alpha, alpha) for i in self.index]
        return torch.tensor(draws, dtype=torch.float32)

    def _key(self, index: int, purpose: str) -> int:
        return derive_seed(self.seed, self.step, purpose, index)

    def _rows(self, out: Tensor, purpose: str) -> Iterator[tuple[Tensor, torch.Generator]]:
        generator = torch.Generator(device=out.device)
        for row, index in zip(out, self.index, strict=True):
            yield row, generator.manual_seed(self._key(index, purpose))
