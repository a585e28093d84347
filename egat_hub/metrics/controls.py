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
"""(maps of the model [B,h,w], random numbers) -> maps of the same shape."""

CONTROLS: Registry[Control] = Registry("controls")


@CONTROLS.register("random")
def random(maps: Tensor, draws: SampleRandom) -> Tensor:
    """Uniform noise at the resolution of the map."""
    return draws.uniform(maps, 0, 1, "control")


@CONTROLS.register("centre")
def centre(maps: Tensor, draws: SampleRandom) -> Tensor:
    """A Gaussian in the centre; its standard deviation is a quarter of the side."""
    y, x = (torch.linspace(-2, 2, side).to(maps) for side in maps.shape[-2:])
    bump = torch.exp(-(y[:, None].square() + x.square()) / 2)
    return bump.expand_as(maps)


Fill = Callable[[TimmModel, Tensor, SampleRandom], Tensor]
"""(model, images [B,3,H,W] in [0,1], random numbers) -> values of removed pixels."""

FILLS: Registry[Fill] = Registry("fills")


@FILLS.register("mean")
def mean(model: TimmModel, images: Tensor, random: SampleRandom) -> Tensor:
    """The mean colour of the network's normalization, zero at its first layer."""
    return model.mean.to(images).expand_as(images)


@FILLS.register("black")
def black(model: TimmModel, images: Tensor, random: SampleRandom) -> Tensor:
    """Black pixels."""
    return torch.zeros_like(images)


@FILLS.register("blur")
def blur(model: TimmModel, images: Tensor, random: SampleRandom) -> Tensor:
    """The blurred image: Gaussian, kernel 11, sigma 5 (as in the insertion metric of DRE)."""
    return gaussian_blur(images, [11, 11], [5.0, 5.0])


@FILLS.register("noise")
def noise(model: TimmModel, images: Tensor, random: SampleRandom) -> Tensor:
    """Uniform noise in [0, 1], one draw per image for all maps and shares."""
    return random.uniform(images, 0, 1, "fill")
