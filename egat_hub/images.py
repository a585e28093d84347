"""Tensors as PIL images."""

from __future__ import annotations

from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image


def to_image(pixels: Tensor) -> Image.Image:
    """A tensor [3,H,W] in [0,1] as a PIL image, rounded to 8 bits."""
    return to_pil_image((pixels.detach().cpu().float() * 255).round().byte())
