"""Clouds: the plasma fractal of the diamond-square algorithm."""

from __future__ import annotations

from torch import Tensor

from egat_hub.randomness import SampleRandom


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
