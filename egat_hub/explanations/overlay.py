"""A saliency map over its image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from egat_hub.explanations.base import NORMALIZATIONS, enlarge


def upsample(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps [B,h,w] bilinearly at ``size`` (H, W), each stretched to [0,1]; a constant map becomes zero."""
    return NORMALIZATIONS["minmax"](enlarge(maps, size))


def overlay(image: Image.Image, saliency: Tensor, *, alpha: float = 0.5) -> Image.Image:
    """Blend the coloured map with the image in gray, so that every colour comes from the map.

    Args:
        image: PIL image of the size of the map.
        saliency: [H,W] in [0,1].
        alpha: share of the map, from 0 (image only) to 1 (map only).
    """
    if tuple(saliency.shape) != (image.height, image.width):
        raise ValueError(
            f"Expected a map of the image's size [{image.height},{image.width}], got "
            f"{list(saliency.shape)}; upsample it with torch.nn.functional.interpolate."
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"Expected alpha in [0, 1], got {alpha}.")
    import matplotlib  # half a second that only figures need

    # perceptually uniform: what is brighter is more salient, in colour and in grayscale print
    colours = matplotlib.colormaps["inferno"](saliency.detach().cpu().numpy(), bytes=True)[..., :3]
    gray = image.convert("L").convert("RGB")
    return Image.blend(gray, Image.fromarray(np.ascontiguousarray(colours)), alpha)
