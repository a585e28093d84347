"""Image files and tensors: reading, checking, converting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from egat_hub.data.transforms import Size, same_aspect

Reader = Callable[[int], "tuple[Image.Image, Image.Image | None]"]
"""Gives the RGB image at a position and, where there are masks, its ``"L"`` mask of the same size."""


class UnreadableImageError(ValueError):
    """An image or mask that cannot be used; the message names it and says why."""


def image_suffixes() -> frozenset[str]:
    """Lower-case file suffixes (``".jpg"``) of the formats that Pillow can open."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN)


def read_image(file: Path | IO[bytes], *, name: str) -> Image.Image:
    """Decode an image of any mode completely.

    The EXIF orientation is applied, transparency is laid over white, 16-bit gray is scaled to 8 bits.

    Args:
        file: path or open binary file.
        name: what to call it in messages.

    Raises:
        UnreadableImageError: not an image, truncated, or floating-point pixels.
    """
    return to_rgb(_decode(file, name), name=name)


def open_image(path: str | Path) -> Image.Image:
    """:func:`read_image` of a file that somebody named.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableImageError: as for :func:`read_image`.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise FileNotFoundError(f"Expected an image file at {path}, found {found} there.")
    try:
        return read_image(path, name=str(path))
    except UnreadableImageError as error:
        raise UnreadableImageError(f"Cannot read {error}; replace or remove the file.") from error


def to_rgb(image: Image.Image, *, name: str = "image") -> Image.Image:
    """A PIL image of any mode as upright RGB, as :func:`read_image` gives it.

    Raises:
        UnreadableImageError: floating-point pixels.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise UnreadableImageError(f"{name}: floating-point pixels have no known range; save it with 8 bits")
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        return Image.fromarray(((pixels.clip(0, 65535) + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def read_mask(file: Path | IO[bytes], *, name: str, size: Size) -> Image.Image:
    """Decode an object mask: white is object, black is background, values between are soft.

    A mask of another resolution is resized; its shape must be that of the image, but for a rounded side.

    Args:
        file: path or open binary file.
        name: what to call it in messages.
        size: (width, height) of the upright image.

    Raises:
        UnreadableImageError: unreadable, of another aspect ratio than its image, or written as 0 and 1.
    """
    mask = _decode(file, name)
    if not same_aspect(mask.size, size):
        raise UnreadableImageError(
            f"{name}: the mask is {mask.width} x {mask.height} pixels, its image (upright) {size[0]} x "
            f"{size[1]}; save the mask of the whole image, at any scale"
        )
    deep = mask.mode[0] in "IF"
    if np.asarray(mask if deep else mask.convert("L")).max() == 1:
        raise UnreadableImageError(f"{name}: the mask holds 0 and 1 where 0 and 255 are expected")
    gray = (to_rgb(mask, name=name) if deep else mask).convert("L")
    return gray if gray.size == size else gray.resize(size, Image.Resampling.BILINEAR)


def _decode(file: Path | IO[bytes], name: str) -> Image.Image:
    try:
        with Image.open(file) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception as error:  # what a broken file raises depends on the decoder
        raise UnreadableImageError(f"{name}: {error}") from error


def to_image(pixels: Tensor) -> Image.Image:
    """A tensor [3,H,W] in [0,1] as a PIL image, rounded to 8 bits."""
    return to_pil_image((pixels.detach().cpu().float() * 255).round().byte())
