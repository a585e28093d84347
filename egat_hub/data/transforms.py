"""Transforms from PIL images to network input in [0,1]; geometric ones apply to the mask too."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

_BILINEAR = v2.InterpolationMode.BILINEAR


FULL_FRAME = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0])
"""The frame of an image that is neither cropped nor flipped; see :class:`TrainingTransform`."""


class TrainingTransform(torch.nn.Module):
    """DomainBed's augmentation: random crop, flip, colour jitter, grayscale. Uses torch's global RNG.

    Attributes:
        frame: float32 [5] of the last call: ``top, left, height, width`` of the crop relative to the image,
            and 1 if flipped.
    """

    frame = FULL_FRAME

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self._crop = v2.RandomResizedCrop(
            image_size, scale=(0.7, 1.0), interpolation=_BILINEAR, antialias=True
        )
        jitter = v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.3)
        self._colour = v2.Compose([jitter, v2.RandomGrayscale(0.1)])

    def forward(self, *inputs: Any) -> Any:
        height, width = functional.get_size(inputs[0])
        box = self._crop.make_params(list(inputs))
        flipped = bool(torch.rand(1) < 0.5)
        inputs = tuple(self._crop.transform(given, box) for given in inputs)
        if flipped:
            inputs = tuple(functional.horizontal_flip(given) for given in inputs)
        relative = box["top"] / height, box["left"] / width, box["height"] / height, box["width"] / width
        self.frame = torch.tensor([*relative, float(flipped)])
        return self._colour(*inputs)


PREPROCESSING = {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "squash"}
""":func:`evaluation_transform` as fields of timm's ``pretrained_cfg``."""


def evaluation_transform(image_size: int) -> v2.Transform:
    """Resize both sides to ``image_size``."""
    return v2.Resize((image_size, image_size), interpolation=_BILINEAR, antialias=True)


def apply(
    transform: torch.nn.Module, image: Image.Image, mask: Image.Image | None
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
