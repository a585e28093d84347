"""Shapes of tensors for any number of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """A shape that grows with the batch.

    Attributes:
        sizes: of every dimension; for those that grow, how much an image adds.
        grows: which dimensions grow.
        dtype: of the tensor.
    """

    sizes: tuple[int, ...]
    grows: tuple[bool, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, few: Tensor, many: Tensor, images: tuple[int, int]) -> Shape:
        """The shape behind two tensors that one module returned for two numbers of images.

        Raises:
            ValueError: sizes that neither stay nor grow in proportion.
        """
        sizes, grows = [], []
        for a, b in zip(few.shape, many.shape, strict=True):
            if a != b and a * images[1] != b * images[0]:
                raise ValueError(f"shapes {tuple(few.shape)} and {tuple(many.shape)} of {images} images")
            grows.append(a != b)
            sizes.append(a if a == b else a // images[0])
        return cls(tuple(sizes), tuple(grows), few.dtype)

    def at(self, batch: int) -> tuple[int, ...]:
        """The shape for that many images."""
        return tuple(s * batch if g else s for s, g in zip(self.sizes, self.grows, strict=True))

    def zeros(self, like: Tensor) -> Tensor:
        """Zeros for the images of ``like``, on its device; floating point as in ``like``."""
        dtype = like.dtype if self.dtype.is_floating_point else self.dtype
        return torch.zeros(self.at(len(like)), dtype=dtype, device=like.device)
