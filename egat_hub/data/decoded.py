"""Images that were decoded once and stay in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from .images import Reader

_AT_ONCE = 256
"""Images that are decoded before the limit is looked at."""


class _Place(NamedTuple):
    """Where an image of ``3 height width`` bytes begins; its mask, if any, lies behind it."""

    start: int
    height: int
    width: int
    masked: bool


class Decoded:
    """A reader that keeps images of some positions in memory and reads all others as before.

    It gives what was read, bit by bit. Pixels are one tensor, which worker processes share.

    Args:
        read: where images come from.
        positions: images to keep; the first that does not fit ends it.
        limit: bytes to keep at most.

    Raises:
        UnreadableImageError: one of the images cannot be decoded.
    """

    def __init__(self, read: Reader, positions: Sequence[int] | np.ndarray, *, limit: int) -> None:
        self._read = read
        self._places: dict[int, _Place] = {}
        parts = [torch.empty(0, dtype=torch.uint8)]
        start = 0
        for position, image, mask in _decode(read, positions, limit):
            self._places[position] = _Place(start, image.height, image.width, mask is not None)
            for picture in (image, mask):
                if picture is not None:
                    parts.append(torch.from_numpy(np.array(picture)).flatten())
                    start += len(parts[-1])
        self._pixels = torch.cat(parts)

    def __len__(self) -> int:
        """Number of images in memory."""
        return len(self._places)

    def __call__(self, index: int) -> tuple[Image.Image, Image.Image | None]:
        place = self._places.get(index)
        if place is None:
            return self._read(index)
        start, height, width, masked = place
        area = height * width
        pixels = self._pixels[start : start + (3 + masked) * area].numpy()
        image = Image.fromarray(pixels[: 3 * area].reshape(height, width, 3))
        return image, Image.fromarray(pixels[3 * area :].reshape(height, width)) if masked else None


def _decode(
    read: Reader, positions: Sequence[int] | np.ndarray, limit: int
) -> Iterator[tuple[int, Image.Image, Image.Image | None]]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for begin in range(0, len(positions), _AT_ONCE):
            chunk = [int(position) for position in positions[begin : begin + _AT_ONCE]]
            for position, (image, mask) in zip(chunk, pool.map(read, chunk), strict=True):
                limit -= image.height * image.width * (3 if mask is None else 4)
                if limit < 0:
                    return
                yield position, image, mask
