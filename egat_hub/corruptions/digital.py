"""Corruptions of processing: contrast, warping, coarse pixels, lossy files."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import pil_to_tensor

from egat_hub.corruptions.base import CORRUPTIONS, graded
from egat_hub.images import to_image
from egat_hub.randomness import SampleRandom


@CORRUPTIONS.register("contrast")
@graded(0.4, 0.3, 0.2, 0.1, 0.05)
def contrast(images: Tensor, random: SampleRandom, share: float) -> Tensor:
    """Values closer to the mean of their channel over the image, of whose distance a share is left."""
    mean = images.mean((2, 3), keepdim=True)
    return mean + share * (images - mean)


@CORRUPTIONS.register("pixelate")
@graded(0.6, 0.5, 0.4, 0.3, 0.25)
def pixelate(images: Tensor, random: SampleRandom, share: float) -> Tensor:
    """Fewer pixels along each side, a share of them, each the mean of those that it stands for."""
    rows, columns = (_blocks(side, share).to(images.device) for side in images.shape[-2:])
    down, across = (F.one_hot(block).to(images) for block in (rows, columns))
    means = (down / down.sum(0)).T @ images @ (across / across.sum(0))
    return means[..., rows[:, None], columns]


@CORRUPTIONS.register("jpeg_compression")
@graded(25, 18, 15, 10, 7)
def jpeg_compression(images: Tensor, random: SampleRandom, quality: int) -> Tensor:
    """A JPEG file of low quality (libjpeg's scale, 4:2:0), written and read on the CPU from 8 bits."""
    return torch.stack([_reread(image, quality) for image in images]).to(images.device)


def _reread(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    to_image(image).save(file, "JPEG", quality=quality)
    return pil_to_tensor(Image.open(file)).float() / 255


def _blocks(side: int, share: float) -> Tensor:
    """Number of the coarse pixel that holds the centre of each pixel, int64 [side]."""
    count = max(int(side * share), 1)
    return ((2 * torch.arange(side) + 1) * count - 1) // (2 * side)
