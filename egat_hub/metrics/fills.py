"""What takes the place of removed pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from egat_hub.backbone import Backbone
from egat_hub.randomness import SampleRandom
from egat_hub.registry import Registry

Fill = Callable[[Backbone, Tensor, SampleRandom], Tensor]
"""(backbone, images [B,3,H,W] in [0,1], keyed random numbers) to what shows where pixels are removed."""

FILLS: Registry[Fill] = Registry("fills")


@FILLS.register("mean")
def mean(backbone: Backbone, images: Tensor, random: SampleRandom) -> Tensor:
    """The mean colour the network was normalised with: zero as its first layer sees it."""
    return backbone.mean.to(images).expand_as(images)


@FILLS.register("black")
def black(backbone: Backbone, images: Tensor, random: SampleRandom) -> Tensor:
    """Black pixels."""
    return torch.zeros_like(images)


@FILLS.register("blur")
def blur(backbone: Backbone, images: Tensor, random: SampleRandom) -> Tensor:
    """The image out of focus: Gaussian blur, kernel 11, sigma 5 (as in the insertion metric of DRE)."""
    return gaussian_blur(images, [11, 11], [5.0, 5.0])


@FILLS.register("noise")
def noise(backbone: Backbone, images: Tensor, random: SampleRandom) -> Tensor:
    """Uniform noise in [0, 1] in every channel, keyed by the image: one draw for all maps and shares."""
    return random.uniform(images, 0, 1, "fill")
