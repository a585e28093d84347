"""From PIL images to network input in [0,1]; masks move with their image and keep their colours."""

from __future__ import annotations

import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

_BILINEAR = v2.InterpolationMode.BILINEAR


def training_transform(image_size: int) -> v2.Transform:
    """Random crop (70 to 100 % of the area), flip, colour jitter, gray in one of ten; global torch RNG."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(image_size, scale=(0.7, 1.0), interpolation=_BILINEAR, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.3),
            v2.RandomGrayscale(0.1),
        ]
    )


def evaluation_transform(image_size: int) -> v2.Transform:
    """Resize both sides to ``image_size``, as timm does with ``crop_mode="squash", crop_pct=1.0``."""
    return v2.Resize((image_size, image_size), interpolation=_BILINEAR, antialias=True)


def apply(
    transform: v2.Transform, image: Image.Image, mask: Image.Image | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Transform an image and its mask together.

    Args:
        transform: one of this module.
        image: RGB.
        mask: ``"L"``, of the size of the image.

    Returns:
        float32 ``[3,H,W]`` and, with a mask, float32 ``[1,H,W]``, both in [0,1].
    """
    if mask is None:
        return _to_float(functional.pil_to_tensor(transform(image))), None
    image, moved = transform(image, tv_tensors.Mask(functional.pil_to_tensor(mask)))
    return _to_float(functional.pil_to_tensor(image)), _to_float(moved.as_subclass(torch.Tensor))


def _to_float(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.to(torch.float32).div_(255)
