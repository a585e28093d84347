"""Object boxes in the formats of Pascal VOC and COCO."""

from __future__ import annotations

import json
import math
import unicodedata
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from egat_hub.data.domains import normalize_name
from egat_hub.data.images import Size, UnreadableImageError, same_aspect


class Box(NamedTuple):
    """Edges of a box in pixels from the top left corner; pixel i spans i to i + 1."""

    left: float
    top: float
    right: float
    bottom: float
    category: str


@dataclass(frozen=True)
class Boxes:
    """The boxes of one image.

    Attributes:
        name: name of the source in error messages.
        boxes: the boxes, in any order; they may overlap. A box without area is an error.
        size: (width, height) of the annotated image, if known.
    """

    name: str
    boxes: tuple[Box, ...]
    size: Size | None = None

    def __post_init__(self) -> None:
        for box in self.boxes:
            if not (math.isfinite(sum(box[:4])) and box.left < box.right and box.top < box.bottom):
                raise UnreadableImageError(f"{self.name}: a box from {box[:2]} to {box[2:4]} has no area")

    def of(self, category: str) -> Boxes:
        """The boxes of a category; see :func:`normalize_name` for what counts as equal."""
        return replace(
            self, boxes=tuple(b for b in self.boxes if normalize_name(b.category) == normalize_name(category))
        )

    def draw(self, size: Size) -> Image.Image:
        """Draw the union of the boxes as a mask: 255 inside, 0 outside, gray on partly covered pixels.

        Args:
            size: (width, height) of the upright image.

        Raises:
            UnreadableImageError: another aspect ratio than the annotated image, or no box in the image.
        """
        if self.size and not same_aspect(self.size, size):
            raise UnreadableImageError(
                f"{self.name}: the boxes were drawn on {self.size[0]} x {self.size[1]} pixels, the image "
                f"(upright) has {size[0]} x {size[1]}; annotate the uncropped image"
            )
        width, height = size
        x_scale, y_scale = (width / self.size[0], height / self.size[1]) if self.size else (1.0, 1.0)
        mask = np.zeros((height, width), np.uint8)
        for box in self.boxes:
            if not self.size and (min(box[:2]) < -1 or box.right > width + 1 or box.bottom > height + 1):
                raise UnreadableImageError(
                    f"{self.name}: a box from {box[:2]} to {box[2:4]} leaves the image (upright), {width} x "
                    f"{height} pixels; add width and height of the annotated image to the file"
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
    """Fraction of each of ``count`` pixels that lies between ``start`` and ``end``, float32 in [0,1]."""
    edges = np.clip(np.arange(count + 1), start, end)
    return np.diff(edges).astype(np.float32)


Parts = tuple[str, ...]
"""Parts of a path, ``("indoor", "cat", "0001.jpg")``."""


class Coco(NamedTuple):
    """Content of a COCO instances file.

    Attributes:
        boxes: the boxes of every image, by the parts of its ``file_name``.
        categories: names of the categories.
    """

    boxes: Mapping[Parts, Boxes]
    categories: frozenset[str]


def read_coco(path: Path) -> Coco:
    """Read the boxes of a COCO instances file: ``bbox`` is ``[x, y, width, height]`` in pixels from 0.

    Outlines (``segmentation``) are ignored with a warning.

    Raises:
        UnreadableImageError: not a COCO instances file; the message has the path and the reason.
    """
    try:
        content = json.loads(path.read_bytes())
        categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        found: dict[Any, list[Box]] = {entry["id"]: [] for entry in content["images"]}
        if len(found) < len(content["images"]):
            raise ValueError("two images have one id")
        outlines = False
        for entry in content["annotations"]:
            left, top, width, height = map(float, entry["bbox"])
            box = Box(left, top, left + width, top + height, categories[entry["category_id"]])
            found[entry["image_id"]].append(box)
            outlines = outlines or bool(entry.get("segmentation"))
        boxes: dict[Parts, Boxes] = {}
        for entry in content["images"]:
            name = entry["file_name"]
            if parts_of(name) in boxes:
                raise ValueError(f"two images have the file_name {name!r}")
            size = _size(entry.get("width") or 0, entry.get("height") or 0)
            boxes[parts_of(name)] = Boxes(f"{path}: {name}", tuple(found[entry["id"]]), size)
    except UnreadableImageError:
        raise
    except KeyError as error:
        raise UnreadableImageError(f"{path}: not a COCO instances file: {error} is missing") from error
    except (ValueError, TypeError, OverflowError, RecursionError, OSError) as error:
        raise UnreadableImageError(f"{path}: not a COCO instances file: {error}") from error
    if outlines:
        warnings.warn(
            f"{path} has outlines (segmentation); only boxes are used. Save outlines as PNG masks.",
            stacklevel=2,
        )
    return Coco(boxes, frozenset(categories.values()))


def parts_of(path: str) -> Parts:
    """Split a path; backslashes count as separators, and Unicode is normalized to NFC."""
    return PurePosixPath(unicodedata.normalize("NFC", path).replace("\\", "/")).parts


def _size(width: Any, height: Any) -> Size | None:
    """Some tools write 0 if the size is unknown."""
    width, height = int(width), int(height)
    return (width, height) if width > 0 and height > 0 else None


_MAX_BYTES = 10_000_000


def read_voc(path: Path) -> Boxes:
    """Read the boxes of a Pascal VOC annotation: corners are pixels from 1, inclusive.

    Document types and entities are rejected, as they allow exponential expansion ("billion laughs").

    Raises:
        UnreadableImageError: not a VOC annotation; the message has the path and the reason.
    """
    try:
        content = path.read_bytes()
        if len(content) > _MAX_BYTES:
            raise ValueError(f"expected at most {_MAX_BYTES} bytes, got {len(content)}")
        # All encodings of the parser write these words as ASCII does, except those with zero bytes.
        if b"\0" in content or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ValueError("document types, entities and UTF-16 are not supported; save it as UTF-8")
        root = ElementTree.fromstring(content)
        if root.tag != "annotation":
            raise ValueError(f"expected an <annotation>, got <{root.tag[:40]}>")
        size = root.find("size")
        boxes = tuple(_voc_box(found) for found in root.findall("object"))
        return Boxes(str(path), boxes, None if size is None else _size(*_numbers(size, "width", "height")))
    except UnreadableImageError:
        raise
    except (ElementTree.ParseError, ValueError, OverflowError, LookupError, OSError) as error:
        raise UnreadableImageError(f"{path}: not a Pascal VOC annotation: {error}") from error


def _voc_box(found: ElementTree.Element) -> Box:
    corners = found.find("bndbox")
    if corners is None:
        raise ValueError("an <object> has no <bndbox>")
    left, top, right, bottom = _numbers(corners, "xmin", "ymin", "xmax", "ymax")
    return Box(left - 1, top - 1, right, bottom, (found.findtext("name") or "").strip())


def _numbers(parent: ElementTree.Element, *names: str) -> list[float]:
    texts = [parent.findtext(name) for name in names]
    if None in texts:
        raise ValueError(f"a <{parent.tag}> needs {', '.join(f'<{name}>' for name in names)}")
    return [float(text) for text in texts if text is not None]
