"""Noise and digital corruptions."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import pil_to_tensor

from egat_hub.core.randomness import SampleRandom
from egat_hub.data.corruptions.base import corruption
from egat_hub.data.corruptions.canvas import REFERENCE, canvas, fit, positions, sample, scale, smooth
from egat_hub.data.images import to_image


@corruption(0.08, 0.12, 0.18, 0.26, 0.38)
def gaussian_noise(images: Tensor, random: SampleRandom, deviation: float) -> Tensor:
    """Additive Gaussian noise."""
    return images + deviation * random.normal(images, "gaussian_noise")


@corruption(60.0, 25.0, 12.0, 5.0, 3.0)
def shot_noise(images: Tensor, random: SampleRandom, photons: float) -> Tensor:
    """Poisson noise; a value of 1 corresponds to ``photons`` photons."""
    return random.poisson(images * photons, "shot_noise") / photons


@corruption(0.03, 0.06, 0.09, 0.17, 0.27)
def impulse_noise(images: Tensor, random: SampleRandom, share: float) -> Tensor:
    """Salt-and-pepper noise: a fraction ``share`` of the values becomes 0 or 1."""
    chance = random.uniform(images, 0, 1, "impulse_noise")
    salted = images.masked_fill(chance < share / 2, 1.0)
    return salted.masked_fill(chance > 1 - share / 2, 0.0)


@corruption(0.4, 0.3, 0.2, 0.1, 0.05)
def contrast(images: Tensor, random: SampleRandom, share: float) -> Tensor:
    """Reduced contrast: distances to the channel mean are multiplied by ``share``."""
    mean = images.mean((2, 3), keepdim=True)
    return mean + share * (images - mean)


@corruption(0.6, 0.5, 0.4, 0.3, 0.25)
def pixelate(images: Tensor, random: SampleRandom, share: float) -> Tensor:
    """Downsampling of each side by the factor ``share`` (area average), and back (nearest)."""
    rows, columns = (_blocks(side, share).to(images.device) for side in images.shape[-2:])
    down, across = (F.one_hot(block).to(images) for block in (rows, columns))
    means = (down / down.sum(0)).T @ images @ (across / across.sum(0))
    return means[..., rows[:, None], columns]


@corruption(25, 18, 15, 10, 7)
def jpeg_compression(images: Tensor, random: SampleRandom, quality: int) -> Tensor:
    """JPEG compression (libjpeg quality, 4:2:0) of the 8-bit image, on the CPU."""
    return torch.stack([_reread(image, quality) for image in images]).to(images.device)


def _reread(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    to_image(image).save(file, "JPEG", quality=quality)
    return pil_to_tensor(Image.open(file)).float() / 255


def _blocks(side: int, share: float) -> Tensor:
    """Index of the coarse pixel that contains the centre of each pixel, int64 [side]."""
    count = max(int(side * share), 1)
    return ((2 * torch.arange(side) + 1) * count - 1) // (2 * side)


SIDE = 244
"""Unit of the published lengths (presumably a typo for 224)."""
CORNERS = ((1.0, 1.0), (1.0, -1.0), (-1.0, -1.0))
"""Control points (y, x) of the affine map, relative to the centre."""


@corruption(
    (2 * SIDE, 0.7 * SIDE, 0.1 * SIDE),
    (2 * SIDE, 0.08 * SIDE, 0.2 * SIDE),
    (0.05 * SIDE, 0.01 * SIDE, 0.02 * SIDE),
    (0.07 * SIDE, 0.01 * SIDE, 0.02 * SIDE),
    (0.12 * SIDE, 0.01 * SIDE, 0.02 * SIDE),
)
def elastic_transform(
    images: Tensor, random: SampleRandom, amplitude: float, sigma: float, reach: float
) -> Tensor:
    """A random affine map followed by smooth random displacements.

    As published, severities 1 and 2 are strong affine maps with smooth displacements, and 3 to 5 are fine
    ripples: severity 3 moves pixels less than 2, but bends lines that 2 leaves straight. The affine map is
    sampled from output to input, so no inverse is needed.

    Args:
        amplitude: factor of the smoothed uniform noise.
        sigma: standard deviation of the smoothing.
        reach: maximum shift of the control points along each axis.
    """
    noise = canvas(images).expand(-1, 2, -1, -1)
    shift = amplitude * smooth(random.uniform(noise, -1, 1, "elastic_transform"), sigma, reach=3)
    shift = scale(images) * fit(shift, images)
    rows, columns = positions(images)
    rows, columns = rows + shift[:, 0] - rows.mean(), columns + shift[:, 1] - columns.mean()
    corners = torch.tensor(CORNERS, device=images.device) * (REFERENCE // 3)
    moves = random.uniform(corners.expand(len(images), 3, 2), -reach, reach, "elastic_transform affine")
    homogeneous = torch.cat([corners, torch.ones_like(corners[:, :1])], dim=1)
    affine = torch.linalg.solve(homogeneous, corners + moves)  # [B,3,2], (y, x, 1) to (y, x)
    ones = torch.full_like(rows, scale(images))
    y, x = torch.einsum("bhwi,bij->jbhw", torch.stack([rows, columns, ones], dim=-1), affine)
    middle_row, middle_column = ((side - 1) / 2 for side in images.shape[-2:])
    return sample(images, y + middle_row, x + middle_column, edge="reflection")
