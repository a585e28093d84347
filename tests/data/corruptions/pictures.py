"""Images to corrupt: generated scenes, and fields with the spectrum of photographs."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from egat_hub.core.randomness import SampleRandom
from egat_hub.data import DataConfig, EvaluationView, open_dataset


@functools.cache
def scenes(size: int, count: int = 3) -> Tensor:
    """The first test images of each of the four generated domains, float32 [4 count,3,size,size]."""
    dataset = open_dataset(DataConfig(name="synthetic", synthetic_size=60, image_size=size))
    views = [EvaluationView(domain, "test", image_size=size) for domain in dataset.values()]
    return torch.stack([view[position]["image"] for view in views for position in range(count)])


@functools.cache
def photolike(count: int, height: int, width: int) -> Tensor:
    """Coloured noise whose amplitude falls with frequency, as that of photographs does, [count,3,H,W]."""
    white = torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))
    frequency = torch.fft.fftfreq(height)[:, None].hypot(torch.fft.rfftfreq(width))
    field = torch.fft.irfft2(
        torch.fft.rfft2(white) / frequency.clamp(min=1 / max(height, width)), s=(height, width)
    )
    grey = field.mean(1, keepdim=True) + 0.3 * field
    return (0.5 + 0.2 * grey / grey.std((1, 2, 3), keepdim=True)).clamp(0, 1)


def draws(images: Tensor, seed: int = 0) -> SampleRandom:
    """Random numbers of a batch."""
    return SampleRandom(seed, tuple(range(len(images))))
