"""From PIL images to network input in [0,1]; masks move with their image and keep their colours."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

Size = tuple[int, int]
"""(width, height) in pixels."""


def same_aspect(size: Size, other: Size) -> bool:
    """Whether one size is the other, enlarged or reduced, with a side rounded by at most a pixel."""
    (width, height), (other_width, other_height) = size, other
    return abs(width * other_height - height * other_width) <= max(*size, *other)


_BILINEAR = v2.InterpolationMode.BILINEAR


WHOLE = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0])
"""``top, left, height, width`` in shares of the sides and 0, not flipped, of an image that is shown whole."""


class Framed(torch.nn.Module):
    """A transform that knows which part of its image it has shown last.

    Attributes:
        frame: ``top, left, height, width`` in shares of the image's sides, and 1 where it was flipped [5].
    """

    def __init__(self, crop: _Crop, flip: _Flip, *others: torch.nn.Module) -> None:
        super().__init__()
        self._crop, self._flip = crop, flip
        self._all = v2.Compose([crop, flip, *others])

    @property
    def frame(self) -> torch.Tensor:
        return torch.tensor([*self._crop.shown, float(self._flip.flipped)])

    def forward(self, *inputs: Any) -> Any:
        return self._all(*inputs)


class _Crop(v2.RandomResizedCrop):
    shown = 0.0, 0.0, 1.0, 1.0

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        chosen = super().make_params(flat_inputs)
        height, width = functional.get_size(flat_inputs[0])
        top, left, down, across = (chosen[name] for name in ("top", "left", "height", "width"))
        self.shown = top / height, left / width, down / height, across / width
        return chosen


class _Flip(v2.RandomHorizontalFlip):
    flipped = False

    def forward(self, *inputs: Any) -> Any:
        self.flipped = False
        return super().forward(*inputs)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        self.flipped = True
        return super().transform(inpt, params)


def training_transform(image_size: int) -> Framed:
    """Random crop (70 to 100 % of the area), flip, colour jitter, gray in one of ten; global torch RNG."""
    return Framed(
        _Crop(image_size, scale=(0.7, 1.0), interpolation=_BILINEAR, antialias=True),
        _Flip(),
        v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.3),
        v2.RandomGrayscale(0.1),
    )


def evaluation_transform(image_size: int) -> v2.Transform:
    """Resize both sides to ``image_size``, as timm does with ``crop_mode="squash", crop_pct=1.0``."""
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
