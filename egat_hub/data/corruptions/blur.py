"""Blurs: defocus, frosted glass, motion and zoom."""

from __future__ import annotations

import torch
from torch import Tensor

from egat_hub.core.randomness import SampleRandom
from egat_hub.data.corruptions.base import corruption
from egat_hub.data.corruptions.canvas import convolve, kernel_of, positions, sample, scale, smooth, streak


@corruption((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5))
def defocus_blur(images: Tensor, random: SampleRandom, radius: float, softness: float) -> Tensor:
    """Defocus: convolution with a disk.

    Args:
        radius: radius of the disk, in pixels of the 224-pixel reference.
        softness: standard deviation of the Gaussian that smooths its edge.
    """
    line = torch.linspace(-1, 1, 65, device=images.device)
    disk = torch.cartesian_prod(line, line)
    disk = disk[disk.square().sum(1) <= 1] * radius * scale(images)
    blurred = convolve(images, kernel_of(disk[None], torch.ones_like(disk[:, 0])))
    return smooth(blurred, softness * scale(images))


@corruption((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
def glass_blur(images: Tensor, random: SampleRandom, sigma: float, reach: float, rounds: int) -> Tensor:
    """Frosted glass: pixels are swapped locally, between two Gaussian blurs.

    All pixels of a round move at once: each takes the value of one at most ``reach`` pixels away. The
    original implementation swaps sequentially and overwrites one of both pixels, so its images drift by 1 to
    2 pixels towards a corner.

    Args:
        sigma: standard deviation of both blurs.
        reach: maximum distance along each axis, in pixels of the 224-pixel reference.
        rounds: number of rounds.
    """
    shuffled = smooth(images, sigma * scale(images))
    rows, columns = positions(images)
    like = images[:, :2]
    for number in range(rounds):
        shift = scale(images) * random.uniform(like, -reach, reach, f"glass_blur {number}").round()
        shuffled = sample(shuffled, rows + shift[:, 0], columns + shift[:, 1], edge="border")
    return smooth(shuffled, sigma * scale(images))


@corruption((10.0, 3.0), (15.0, 5.0), (15.0, 8.0), (15.0, 12.0), (20.0, 15.0))
def motion_blur(images: Tensor, random: SampleRandom, radius: float, sigma: float) -> Tensor:
    """Camera motion along a line at most 45 degrees from the horizontal."""
    angles = random.uniform(images[:, 0, 0, 0], -45, 45, "motion_blur")
    return streak(images, angles, radius * scale(images), sigma * scale(images))


@corruption((1.11, 0.01), (1.15, 0.01), (1.2, 0.02), (1.24, 0.02), (1.3, 0.03))
def zoom_blur(images: Tensor, random: SampleRandom, farthest: float, step: float) -> Tensor:
    """Zoom: the mean of the image and enlarged copies.

    Args:
        farthest: largest zoom factor; the smallest is 1.
        step: increment of the zoom factor.
    """
    rows, columns = positions(images)
    middle_row, middle_column = rows.mean(), columns.mean()
    count = round((farthest - 1) / step) + 1
    total = images.clone()
    for number in range(count):
        zoom = 1 + step * number
        y = middle_row + (rows - middle_row) / zoom
        x = middle_column + (columns - middle_column) / zoom
        total += sample(images, y, x, edge="border")
    return total / (count + 1)
