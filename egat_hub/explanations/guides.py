"""Guide maps: where an explanation should look, in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.core.registry import Registry

Guide = Callable[[Tensor, Tensor | None], Tensor]
"""(images [B,3,H,W] in [0,1], masks [B,1,H,W] in [0,1] or None) to a guide map [B,1,H,W] in [0,1]."""

GUIDES: Registry[Guide] = Registry("guides")


@GUIDES.register("grayscale")
def grayscale(images: Tensor, masks: Tensor | None = None) -> Tensor:
    """Luminance of the image, the annotation-free proxy of the EGAT paper (section IV-A3)."""
    red, green, blue = images.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)


@GUIDES.register("mask")
def mask(images: Tensor, masks: Tensor | None = None) -> Tensor:
    """The object masks of the data set, which every batch must have."""
    if masks is None:
        raise ValueError(
            "guide='mask' needs a data set with object masks, and this batch has none. Give the data set a "
            "masks_dir, use --data synthetic, or choose guide='grayscale'."
        )
    return masks


@GUIDES.register("none")
def none(images: Tensor, masks: Tensor | None = None) -> Tensor:
    """One half everywhere. EGAT drops its guidance term with this guide."""
    return torch.full_like(images[:, :1], 0.5)


def on_grid(values: Tensor, maps: Tensor) -> Tensor:
    """Values [B,1,H,W] averaged over the cells of maps [B,h,w]."""
    return F.adaptive_avg_pool2d(values, (maps.shape[-2], maps.shape[-1]))[:, 0]


def add_noise(guide: Tensor, level: float, random: SampleRandom) -> Tensor:
    """A guide [B,...] with Gaussian noise of standard deviation ``level``, clipped to [0, 1]."""
    return (guide + level * random.normal(guide, "guide")).clamp(0, 1)
