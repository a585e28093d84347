"""Images that were decoded once and stay in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from egat_hub.core.distributed import own_cores
from egat_hub.data.images import Reader

_BLOCK = 2**26
"""Bytes at which a block of pixels is closed. Workers get one file each, so there should be few of them."""


class _Place(NamedTuple):
    """Where an image of ``3 height width`` bytes begins; its mask, if any, lies behind it."""

    block: int
    start: int
    height: int
    width: int
    masked: bool


class Decoded:
    """A reader that keeps images of some positions in memory and reads all others as before.

    It gives what was read, bit by bit. Pixels are in tensors, which worker processes share.

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
        self._blocks: list[Tensor] = []
        parts: list[Tensor] = []
        size = 0
        for position, image, mask in _decode(read, positions, limit):
            place = _Place(len(self._blocks), size, image.height, image.width, mask is not None)
            self._places[position] = place
            parts += [torch.from_numpy(np.array(p)).flatten() for p in (image, mask) if p is not None]
            size += (3 + place.masked) * place.height * place.width
            if size >= _BLOCK:
                self._blocks.append(torch.cat(parts))
                parts, size = [], 0
        if parts:
            self._blocks.append(torch.cat(parts))

    def __len__(self) -> int:
        """Number of images in memory."""
        return len(self._places)

    def __call__(self, index: int) -> tuple[Image.Image, Image.Image | None]:
        place = self._places.get(index)
        if place is None:
            return self._read(index)
        block, start, height, width, masked = place
        area = height * width
        pixels = self._blocks[block][start : start + (3 + masked) * area].numpy()
        image = Image.fromarray(pixels[: 3 * area].reshape(height, width, 3))
        return image, Image.fromarray(pixels[3 * area :].reshape(height, width)) if masked else None


def _decode(
    read: Reader, positions: Sequence[int] | np.ndarray, limit: int
) -> Iterator[tuple[int, Image.Image, Image.Image | None]]:
    """Images by their positions, decoded in threads and few at a time, until ``limit`` bytes are reached."""
    threads = own_cores()
    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, len(positions), 2 * threads):
            some = [int(position) for position in positions[begin : begin + 2 * threads]]
            for position, (image, mask) in zip(some, pool.map(read, some), strict=True):
                limit -= image.height * image.width * (3 if mask is None else 4)
                if limit < 0:
                    return
                yield position, image, mask
