"""Random numbers keyed by (seed, step, image).

They do not depend on restarts, the composition of batches or the number of processes, and have no state.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


def derive_seed(*parts: int | str) -> int:
    """Hash integers and strings to a 63-bit seed with NumPy's ``SeedSequence``."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in parts]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]) >> 1


@dataclass(frozen=True)
class SampleRandom:
    """Keyed random numbers for a batch.

    Attributes:
        seed: seed of the run.
        index: unique, non-negative index of every image in the batch.
        step: training step (0 in evaluation).
    """

    seed: int
    index: tuple[int, ...]
    step: int = 0

    @classmethod
    def by_position(cls, images: Tensor) -> SampleRandom:
        """Seed 0 and positions in the batch, for images [B,...] without an index."""
        return cls(0, tuple(range(len(images))))

    def __len__(self) -> int:
        return len(self.index)

    def select(self, mask: Tensor) -> SampleRandom:
        """The random numbers of the images where the boolean ``mask`` [B] is true."""
        chosen = zip(self.index, mask.tolist(), strict=True)
        return replace(self, index=tuple(index for index, wanted in chosen if wanted))

    def uniform(self, like: Tensor, low: float, high: float, purpose: str) -> Tensor:
        """Uniform numbers with the shape, device and dtype of ``like`` [B,...].

        Draws for different purposes are independent. The memory format of ``like`` has no effect.
        """
        out = torch.empty_like(like, memory_format=torch.contiguous_format)
        for row, generator in self._rows(out, purpose):
            row.uniform_(low, high, generator=generator)
        return out

    def normal(self, like: Tensor, purpose: str) -> Tensor:
        """Standard normal numbers with the shape, device and dtype of ``like``; see :meth:`uniform`."""
        out = torch.empty_like(like, memory_format=torch.contiguous_format)
        for row, generator in self._rows(out, purpose):
            row.normal_(generator=generator)
        return out

    def poisson(self, rates: Tensor, purpose: str) -> Tensor:
        """Poisson counts with means ``rates`` [B,...], and their shape, device and dtype."""
        counts = torch.empty_like(rates, memory_format=torch.contiguous_format)
        for (row, generator), means in zip(self._rows(counts, purpose), rates, strict=True):
            row.copy_(torch.poisson(means.contiguous(), generator=generator))
        return counts

    def beta(self, alpha: float, purpose: str) -> Tensor:
        """One Beta(alpha, alpha) number per image, float32 [B] on the CPU."""
        draws = [np.random.default_rng(self._key(i, purpose)).beta(alpha, alpha) for i in self.index]
        return torch.tensor(draws, dtype=torch.float32)

    def _key(self, index: int, purpose: str) -> int:
        return derive_seed(self.seed, self.step, purpose, index)

    def _rows(self, out: Tensor, purpose: str) -> Iterator[tuple[Tensor, torch.Generator]]:
        generator = torch.Generator(device=out.device)
        for row, index in zip(out, self.index, strict=True):
            yield row, generator.manual_seed(self._key(index, purpose))
