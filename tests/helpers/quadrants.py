"""Images whose class is the quadrant that is brighter than the others."""

from __future__ import annotations

import torch
from torch import Tensor

CLASSES = 4


def quadrants(count: int, seed: int, *, size: int, noise: float, contrast: float) -> tuple[Tensor, Tensor]:
    """Noisy images [count,3,size,size] in [0,1], and their classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = 0.5 + noise * torch.randn(count, 3, size, size, generator=generator)
    half = size // 2
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[:, row * half : (row + 1) * half, column * half : (column + 1) * half] += contrast
    return images.clamp(0, 1), labels
