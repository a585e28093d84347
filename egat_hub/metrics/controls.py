"""Maps that know nothing of the model: what a figure is worth without an explanation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from egat_hub.randomness import SampleRandom
from egat_hub.registry import Registry

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
