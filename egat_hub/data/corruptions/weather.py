"""Snow, frost, fog and brightness."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.data.corruptions.base import CORRUPTIONS, graded
from egat_hub.data.corruptions.canvas import canvas, fit, smooth, streak


def plasma(layer: Tensor, random: SampleRandom, decay: float, purpose: str) -> Tensor:
    """Clouds of the shape of ``layer`` [B,1,h,w], of which every map of its own is scaled to [0,1].

    The midpoints of ever smaller squares, then of the diamonds between them, are the mean of their four
    neighbours and noise (Fournier et al. 1982). The map wraps around; its side is the power of two that
    covers the layer, of which the rest is cut off.

    Args:
        layer: only its shape and device count.
        random: keyed random numbers.
        decay: the noise shrinks by its square when distances halve.
        purpose: names the draw.
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
"""Directions in which the crystals of an image lie."""
GRAIN = 5.0
"""Deviation of the Gaussian that smooths patches of one direction, in pixels of the layer."""
LENGTH = 24
"""Length of a crystal, in pixels of the layer."""
COARSE = 4
"""Pixels of the layer to one of the grid on which patches are drawn."""
TINTS = ((0.38, 0.50, 0.57), (0.80, 0.82, 0.86))
"""Mean colours, from clear ice to hoar frost, between which an image's lies."""


def frost_layer(layer: Tensor, random: SampleRandom) -> Tensor:
    """Patches of parallel crystals on clouded ice [B,3,h,w] in [0,1].

    Args:
        layer: [B,1,h,w], of which shape and device count.
        random: keyed random numbers.
    """
    tint = random.uniform(layer[:, 0, 0, 0], 0, 1, "frost tint")[:, None, None, None]
    clear, white = (layer.new_tensor(colour)[:, None, None] for colour in TINTS)
    clouds = plasma(layer, random, 1.6, "frost clouds") - 0.5
    return (clear + tint * (white - clear) + 0.3 * clouds + 0.11 * _crystals(layer, random)).clamp(0, 1)


def _crystals(layer: Tensor, random: SampleRandom) -> Tensor:
    """Relief [B,1,h,w] around 0: streaked noise, in each patch along another direction.

    A patch is where the height of its direction is the highest; heights are streaked, too.
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


@CORRUPTIONS.register("snow")
@graded(
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
    """Falling flakes with their traces, over an image that turns pale.

    Args:
        images: clean images [B,3,H,W].
        random: keyed random numbers.
        mean: of the normal noise that flakes are made of.
        deviation: likewise.
        size: of a grain of the noise.
        threshold: below which there is no flake.
        radius: half of the length of a trace.
        sigma: deviation by which a trace fades.
        colour: share of the image that keeps its colours.
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


@CORRUPTIONS.register("frost")
@graded((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75), texture="procedural")
def frost(images: Tensor, random: SampleRandom, share: float, ice: float) -> Tensor:
    """Crystals on the lens. The original overlays five photographs; here ice is drawn."""
    return share * images + ice * fit(frost_layer(canvas(images), random), images)


@CORRUPTIONS.register("fog")
@graded((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
def fog(images: Tensor, random: SampleRandom, thickness: float, decay: float) -> Tensor:
    """Clouds before the image, which keeps its brightest value."""
    brightest = images.amax((1, 2, 3), keepdim=True)
    clouds = fit(plasma(canvas(images), random, decay, "fog"), images)
    return (images + thickness * clouds) * brightest / (brightest + thickness)


@CORRUPTIONS.register("brightness")
@graded(0.1, 0.2, 0.3, 0.4, 0.5)
def brightness(images: Tensor, random: SampleRandom, added: float) -> Tensor:
    """More light: the value of the HSV colour grows, hue and saturation stay."""
    value = images.amax(1, keepdim=True)
    brighter = (value + added).clamp(max=1)
    return torch.where(value > 0, images * brighter / value.clamp(min=1e-12), brighter)
