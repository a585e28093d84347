"""Snow, frost, fog and brightness."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.data.corruptions.base import corruption
from egat_hub.data.corruptions.canvas import canvas, fit, smooth, streak


def plasma(layer: Tensor, random: SampleRandom, decay: float, purpose: str) -> Tensor:
    """Plasma fractal (diamond-square algorithm, Fournier et al. 1982), each map scaled to [0,1].

    The map is periodic, its side the smallest power of two that covers the layer; it is then cropped.

    Args:
        layer: gives shape [B,1,h,w] and device.
        decay: the amplitude of the noise is divided by ``decay**2`` when distances halve.
        purpose: key of the random numbers.
    """
    height, width = layer.shape[-2:]
    side = 1 << (max(height, width) - 1).bit_length()
    noise = random.uniform(layer.new_empty(len(layer), side, side), -1, 1, purpose)
    clouds = layer.new_zeros(len(layer), side, side)
    step, amplitude = side, 1.0
    while step > 1:
        half = step // 2
        corners = clouds[:, ::step, ::step]
        right = corners + corners.roll(-1, 2)
        clouds[:, half::step, half::step] = (right + right.roll(-1, 1)) / 4
        middles = clouds[:, half::step, half::step]
        middles += amplitude * noise[:, half::step, half::step]
        above = middles + middles.roll(1, 1) + right
        clouds[:, ::step, half::step] = above / 4 + amplitude * noise[:, ::step, half::step]
        beside = middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)
        clouds[:, half::step, ::step] = beside / 4 + amplitude * noise[:, half::step, ::step]
        step, amplitude = half, amplitude / decay**2
    clouds -= clouds.amin((1, 2), keepdim=True)
    clouds /= clouds.amax((1, 2), keepdim=True)
    return clouds[:, None, :height, :width]


DIRECTIONS = 8
"""Number of directions of ice crystals."""
GRAIN = 5.0
"""Standard deviation of the Gaussian that smooths patches of equal direction, in pixels."""
LENGTH = 24
"""Length of a crystal, in pixels."""
COARSE = 4
"""Downsampling factor of the grid on which patches are drawn."""
TINTS = ((0.38, 0.50, 0.57), (0.80, 0.82, 0.86))
"""Mean colours of clear ice and of hoar frost; each image gets a mixture."""


def frost_layer(layer: Tensor, random: SampleRandom) -> Tensor:
    """Ice: patches of parallel crystals over clouds, [B,3,h,w] in [0,1], for a layer [B,1,h,w]."""
    tint = random.uniform(layer[:, 0, 0, 0], 0, 1, "frost tint")[:, None, None, None]
    clear, white = (layer.new_tensor(colour)[:, None, None] for colour in TINTS)
    clouds = plasma(layer, random, 1.6, "frost clouds") - 0.5
    return (clear + tint * (white - clear) + 0.3 * clouds + 0.11 * _crystals(layer, random)).clamp(0, 1)


def _crystals(layer: Tensor, random: SampleRandom) -> Tensor:
    """Relief [B,1,h,w] around 0: streaked noise, with the direction of each patch.

    Each direction has a random height map; at each pixel, the direction with the largest height wins.
    """
    turn = random.uniform(layer[:, 0, 0, 0], 0, 360, "frost turn")
    noise = math.sqrt(LENGTH / 2) * random.normal(layer, "frost strokes")
    grid = layer[..., ::COARSE, ::COARSE]
    highest, relief = torch.full_like(layer, -math.inf), torch.zeros_like(layer)
    for number in range(DIRECTIONS):
        share = number / DIRECTIONS
        angles, length = turn + 180 * share, LENGTH / 2
        strokes = streak(noise, angles, length, length, "circular") + share - 0.5
        heights = smooth(random.normal(grid, f"frost heights {number}"), GRAIN / COARSE)
        heights = streak(heights, angles, length / COARSE, length / COARSE)
        heights = F.interpolate(heights, layer.shape[-2:], mode="bilinear")
        relief = torch.where(heights > highest, strokes, relief)
        highest = torch.maximum(highest, heights)
    return relief


LUMINANCE = (0.299, 0.587, 0.114)


@corruption(
    (0.1, 0.3, 3.0, 0.5, 10.0, 4.0, 0.8),
    (0.2, 0.3, 2.0, 0.5, 12.0, 4.0, 0.7),
    (0.55, 0.3, 4.0, 0.9, 12.0, 8.0, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12.0, 8.0, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12.0, 12.0, 0.55),
)
def snow(
    images: Tensor,
    random: SampleRandom,
    mean: float,
    deviation: float,
    size: float,
    threshold: float,
    radius: float,
    sigma: float,
    colour: float,
) -> Tensor:
    """Falling snowflakes with motion blur, over a whitened image.

    Args:
        mean: mean of the Gaussian noise that flakes are made of.
        deviation: standard deviation of the noise.
        size: size of a noise pixel.
        threshold: noise below it is set to 0.
        radius: half of the length of the motion blur.
        sigma: standard deviation of the motion blur.
        colour: weight of the original image against the whitened one.
    """
    layer = canvas(images)
    height, width = layer.shape[-2:]
    rows, columns = (-(-side // size) for side in (height, width))
    grains = layer.new_empty(len(images), 1, int(rows), int(columns))
    noise = mean + deviation * random.normal(grains, "snow")
    noise = F.interpolate(noise, (height, width), mode="bilinear", align_corners=True)
    flakes = noise.where(noise >= threshold, 0).clamp(0, 1)
    angles = random.uniform(images[:, 0, 0, 0], -135, -45, "snow angle")
    flakes = streak(flakes, angles, radius, sigma)
    grey = (images * images.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)
    pale = colour * images + (1 - colour) * torch.maximum(images, 1.5 * grey + 0.5)
    return pale + fit(flakes + flakes.rot90(2, (2, 3)), images)


@corruption((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75), texture="procedural")
def frost(images: Tensor, random: SampleRandom, share: float, ice: float) -> Tensor:
    """Ice crystals on the lens. The original overlays five photographs; here the ice is procedural."""
    return share * images + ice * fit(frost_layer(canvas(images), random), images)


@corruption((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
def fog(images: Tensor, random: SampleRandom, thickness: float, decay: float) -> Tensor:
    """Plasma clouds over the image; its maximum is preserved."""
    brightest = images.amax((1, 2, 3), keepdim=True)
    clouds = fit(plasma(canvas(images), random, decay, "fog"), images)
    return (images + thickness * clouds) * brightest / (brightest + thickness)


@corruption(0.1, 0.2, 0.3, 0.4, 0.5)
def brightness(images: Tensor, random: SampleRandom, added: float) -> Tensor:
    """Increased value in HSV; hue and saturation are unchanged."""
    value = images.amax(1, keepdim=True)
    brighter = (value + added).clamp(max=1)
    return torch.where(value > 0, images * brighter / value.clamp(min=1e-12), brighter)
