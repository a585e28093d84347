"""Weather: snow, frost, fog and bright light."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.corruptions.base import CORRUPTIONS, graded
from egat_hub.corruptions.canvas import canvas, fit
from egat_hub.corruptions.ice import frost_layer
from egat_hub.corruptions.motion import streak
from egat_hub.corruptions.plasma import plasma
from egat_hub.randomness import SampleRandom

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
