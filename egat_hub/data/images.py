"""Read, check, convert and cache images and masks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from egat_hub.core.distributed import cpu_count

Size = tuple[int, int]
"""(width, height) in pixels."""

Reader = Callable[[int], "tuple[Image.Image, Image.Image | None]"]
"""Returns the RGB image at a position and, if there are masks, its ``"L"`` mask of the same size."""


class UnreadableImageError(ValueError):
    """An image or mask that cannot be used; the message names it and gives the reason."""


def same_aspect(size: Size, other: Size) -> bool:
    """Whether two sizes have the same aspect ratio, up to rounding one side by a pixel."""
    return abs(size[0] * other[1] - size[1] * other[0]) <= max(*size, *other)


def image_suffixes() -> frozenset[str]:
    """Lower-case file suffixes (``".jpg"``) of the formats that Pillow can open."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN)


def find_images(folder: Path, *, outside: Path | None = None) -> list[Path]:
    """Sorted images in a folder and its subfolders, except ``outside``; follows links, skips hidden names."""
    suffixes, found = image_suffixes(), []
    seen = {folder.resolve(), *([outside.resolve()] if outside else [])}
    for place, folders, files in os.walk(folder, followlinks=True):
        below = {name: (Path(place) / name).resolve() for name in folders if name[0] != "."}
        folders[:] = [name for name, target in below.items() if target not in seen]
        seen.update(below.values())
        found += [
            Path(place) / name for name in files if name[0] != "." and Path(name).suffix.lower() in suffixes
        ]
    return sorted(found)


def read_image(file: Path | IO[bytes], *, name: str) -> Image.Image:
    """Decode an image of any mode to RGB.

    Applies the EXIF orientation, composites transparency over white and scales 16-bit gray to 8 bits.

    Args:
        file: path or open binary file.
        name: name of the image in error messages.

    Raises:
        UnreadableImageError: not an image, truncated, or floating-point pixels.
    """
    return to_rgb(_decode(file, name), name=name)


def open_image(path: str | Path) -> Image.Image:
    """:func:`read_image` for a path given by the user; a missing file is a ``FileNotFoundError``."""
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise FileNotFoundError(f"Expected an image file at {path}, found {found}.")
    try:
        return read_image(path, name=str(path))
    except UnreadableImageError as error:
        raise UnreadableImageError(f"Cannot read {error}; replace or remove the file.") from error


def to_rgb(image: Image.Image, *, name: str = "image") -> Image.Image:
    """Convert a PIL image of any mode but ``"F"`` to upright RGB, as :func:`read_image` does."""
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
    """Decode an object mask: white is object, black is background, gray is soft.

    A mask of another resolution is resized; its aspect ratio must match the image up to rounding.

    Args:
        file: path or open binary file.
        name: name of the mask in error messages.
        size: (width, height) of the upright image.

    Raises:
        UnreadableImageError: unreadable, another aspect ratio than the image, or values 0 and 1 only.
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
    except Image.DecompressionBombError as error:
        limit = Image.MAX_IMAGE_PIXELS
        remedy = f"resize it, or raise PIL.Image.MAX_IMAGE_PIXELS, now {limit:,}, if you trust it"
        raise UnreadableImageError(f"{name}: {error} {remedy}") from error
    except Exception as error:  # the type depends on the decoder
        raise UnreadableImageError(f"{name}: {error}") from error


def to_image(pixels: Tensor) -> Image.Image:
    """Convert a tensor [3,H,W] in [0,1] to a PIL image, rounded to 8 bits."""
    return to_pil_image((pixels.detach().cpu().float() * 255).round().byte())


_BLOCK_BYTES = 2**26
"""Pixels are stored in large blocks, as every tensor that is shared with worker processes opens a file."""


class _Entry(NamedTuple):
    """Where an image of ``3 * height * width`` bytes is stored; its mask, if any, follows it."""

    block: int
    start: int
    height: int
    width: int
    masked: bool


class ImageCache:
    """A reader that holds some decoded images in memory, shared with worker processes.

    Args:
        read: reads the image and mask at a position, for images that are not cached.
        positions: images to cache, in this order, until ``limit`` is reached.
        limit: size of the cache in bytes.

    Raises:
        UnreadableImageError: an image cannot be decoded.
    """

    def __init__(self, read: Reader, positions: Sequence[int] | np.ndarray, *, limit: int) -> None:
        self._read = read
        self._entries: dict[int, _Entry] = {}
        self._blocks: list[Tensor] = []
        parts: list[Tensor] = []
        size = 0
        for position, image, mask in _decode_until(limit, read, positions):
            entry = _Entry(len(self._blocks), size, image.height, image.width, mask is not None)
            self._entries[position] = entry
            parts += [torch.from_numpy(np.array(p)).flatten() for p in (image, mask) if p is not None]
            size += (3 + entry.masked) * entry.height * entry.width
            if size >= _BLOCK_BYTES:
                self._blocks.append(torch.cat(parts))
                parts, size = [], 0
        if parts:
            self._blocks.append(torch.cat(parts))

    def __len__(self) -> int:
        """Number of cached images."""
        return len(self._entries)

    def __call__(self, index: int) -> tuple[Image.Image, Image.Image | None]:
        entry = self._entries.get(index)
        if entry is None:
            return self._read(index)
        block, start, height, width, masked = entry
        area = height * width
        pixels = self._blocks[block][start : start + (3 + masked) * area].numpy()
        image = Image.fromarray(pixels[: 3 * area].reshape(height, width, 3))
        return image, Image.fromarray(pixels[3 * area :].reshape(height, width)) if masked else None


def _decode_until(
    limit: int, read: Reader, positions: Sequence[int] | np.ndarray
) -> Iterator[tuple[int, Image.Image, Image.Image | None]]:
    """Decode images in threads, a few at a time, until ``limit`` bytes are reached."""
    threads = cpu_count()
    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, len(positions), 2 * threads):
            some = [int(position) for position in positions[begin : begin + 2 * threads]]
            for position, (image, mask) in zip(some, pool.map(read, some), strict=True):
                limit -= image.height * image.width * (3 if mask is None else 4)
                if limit < 0:
                    return
                yield position, image, mask
