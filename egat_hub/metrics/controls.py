"""Control maps, and fills of removed pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from egat_hub.core.randomness import SampleRandom
from egat_hub.core.registry import Registry
from egat_hub.models import TimmModel

Control = Callable[[Tensor, SampleRandom], Tensor]
"""(the model's maps [B,h,w], keyed random numbers) to maps of the same shape."""

CONTROLS: Registry[Control] = Registry("controls")


@CONTROLS.register("random")
def random(maps: Tensor, draws: SampleRandom) -> Tensor:
    """Uniform noise on the grid of the map, so that its regions are as coarse as the model's."""
    return draws.uniform(maps, 0, 1, "control")


@CONTROLS.register("centre")
def centre(maps: Tensor, draws: SampleRandom) -> Tensor:
    """A Gaussian in the middle, the habit of photographers; its deviation is a quarter of the side."""
    y, x = (torch.linspace(-2, 2, side).to(maps) for side in maps.shape[-2:])
    bump = torch.exp(-(y[:, None].square() + x.square()) / 2)
    return bump.expand_as(maps)


Fill = Callable[[TimmModel, Tensor, SampleRandom], Tensor]
"""(backbone, images [B,3,H,W] in [0,1], keyed random numbers) to what shows where pixels are removed."""

FILLS: Registry[Fill] = Registry("fills")


@FILLS.register("mean")
def mean(model: TimmModel, images: Tensor, random: SampleRandom) -> Tensor:
    """The mean colour the network was normalised with: zero as its first layer sees it."""
    return model.mean.to(images).expand_as(images)


@FILLS.register("black")
def black(model: TimmModel, images: Tensor, random: SampleRandom) -> Tensor:
    """Black pixels."""
    return torch.zeros_like(images)


@FILLS.register("blur")
def blur(model: TimmModel, images: Tensor, random: SampleRandom) -> Tensor:
    """The image out of focus: Gaussian blur, kernel 11, sigma 5 (as in the insertion metric of DRE)."""
    return gaussian_blur(images, [11, 11], [5.0, 5.0])


@FILLS.register("noise")
def noise(model: TimmModel, images: Tensor, random: SampleRandom) -> Tensor:
    """Uniform noise in [0, 1] in every channel, keyed by the image: one draw for all maps and shares."""
    return random.uniform(images, 0, 1, "fill")
