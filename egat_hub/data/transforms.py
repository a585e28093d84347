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
"""The frame of an image that is neither cropped nor flipped; see :class:`FramedTransform`."""


class FramedTransform(torch.nn.Module):
    """Crop, flip and further transforms; records the crop and the flip of the last call.

    Attributes:
        frame: float32 [5]: ``top, left, height, width`` of the crop relative to the image, and 1 if flipped.
    """

    def __init__(self, crop: _Crop, flip: _Flip, *others: torch.nn.Module) -> None:
        super().__init__()
        self._crop, self._flip = crop, flip
        self._all = v2.Compose([crop, flip, *others])

    @property
    def frame(self) -> torch.Tensor:
        return torch.tensor([*self._crop.box, float(self._flip.flipped)])

    def forward(self, *inputs: Any) -> Any:
        return self._all(*inputs)


class _Crop(v2.RandomResizedCrop):
    box = 0.0, 0.0, 1.0, 1.0

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        chosen = super().make_params(flat_inputs)
        height, width = functional.get_size(flat_inputs[0])
        top, left, down, across = (chosen[name] for name in ("top", "left", "height", "width"))
        self.box = top / height, left / width, down / height, across / width
        return chosen


class _Flip(v2.RandomHorizontalFlip):
    flipped = False

    def forward(self, *inputs: Any) -> Any:
        self.flipped = False
        return super().forward(*inputs)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        self.flipped = True
        return super().transform(inpt, params)


def training_transform(image_size: int) -> FramedTransform:
    """DomainBed's augmentation: random crop, flip, colour jitter, grayscale. Uses torch's global RNG."""
    return FramedTransform(
        _Crop(image_size, scale=(0.7, 1.0), interpolation=_BILINEAR, antialias=True),
        _Flip(),
        v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.3),
        v2.RandomGrayscale(0.1),
    )


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
