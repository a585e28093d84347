"""Boxes around the objects of an image, and the mask that they fill."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from .aspect import Size, same_aspect
from .images import UnreadableImageError
from .names import fold


class Box(NamedTuple):
    """A box in pixels from the top left corner of the image; pixel i spans i to i + 1."""

    left: float
    top: float
    right: float
    bottom: float
    category: str


@dataclass(frozen=True)
class Boxes:
    """The boxes of one image.

    Attributes:
        name: where they come from, for messages.
        boxes: the boxes, in any order; they may overlap.
        size: (width, height) of the image that they were drawn on, where it is noted.

    Raises:
        UnreadableImageError: a box without an area.
    """

    name: str
    boxes: tuple[Box, ...]
    size: Size | None = None

    def __post_init__(self) -> None:
        for box in self.boxes:
            if not (math.isfinite(sum(box[:4])) and box.left < box.right and box.top < box.bottom):
                raise UnreadableImageError(f"{self.name}: a box from {box[:2]} to {box[2:4]} has no area")

    def of(self, category: str) -> Boxes:
        """The boxes of a category, in any spelling."""
        return replace(self, boxes=tuple(b for b in self.boxes if fold(b.category) == fold(category)))

    def draw(self, size: Size) -> Image.Image:
        """The union of the boxes as a mask: 255 inside, 0 outside, between on pixels covered in part.

        Args:
            size: (width, height) of the upright image.

        Raises:
            UnreadableImageError: the boxes belong to an image of another shape, or none lies in this one.
        """
        if self.size and not same_aspect(self.size, size):
            raise UnreadableImageError(
                f"{self.name}: the boxes were drawn on {self.size[0]} x {self.size[1]} pixels, the image "
                f"(upright) has {size[0]} x {size[1]}; annotate the image as it is"
            )
        width, height = size
        x_scale, y_scale = (width / self.size[0], height / self.size[1]) if self.size else (1.0, 1.0)
        mask = np.zeros((height, width), np.uint8)
        for box in self.boxes:
            if not self.size and (min(box[:2]) < -1 or box.right > width + 1 or box.bottom > height + 1):
                raise UnreadableImageError(
                    f"{self.name}: a box from {box[:2]} to {box[2:4]} leaves the image (upright), {width} x "
                    f"{height} pixels; note width and height of the image that it was drawn on"
                )
            columns = _coverage(box.left * x_scale, box.right * x_scale, width)
            rows = _coverage(box.top * y_scale, box.bottom * y_scale, height)
            place = np.ix_(rows > 0, columns > 0)
            filled = np.rint(255 * np.outer(rows[rows > 0], columns[columns > 0])).astype(np.uint8)
            mask[place] = np.maximum(mask[place], filled)
        if not mask.any():
            raise UnreadableImageError(f"{self.name}: no box lies in the image; correct or remove it")
        return Image.fromarray(mask)


def _coverage(start: float, end: float, count: int) -> np.ndarray:
    """Share of each of ``count`` pixels between two places on their axis, float32 in [0,1]."""
    edges = np.clip(np.arange(count + 1), start, end)
    return np.diff(edges).astype(np.float32)
