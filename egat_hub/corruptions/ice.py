"""Frost on a window pane, drawn from random numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.corruptions.motion import streak
from egat_hub.corruptions.plasma import plasma
from egat_hub.corruptions.smoothing import smooth
from egat_hub.randomness import SampleRandom

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
