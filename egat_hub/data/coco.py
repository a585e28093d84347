"""Boxes in the form of COCO: one JSON file for all images."""

from __future__ import annotations

import json
import unicodedata
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from .aspect import Size
from .boxes import Box, Boxes
from .images import UnreadableImageError

T = TypeVar("T")

Parts = tuple[str, ...]
"""Parts of a path, ``("indoor", "cat", "0001.jpg")``."""


class Coco(NamedTuple):
    """What a COCO file says.

    Attributes:
        boxes: the boxes of every image, by the parts of its ``file_name``.
        categories: names of the categories.
    """

    boxes: Mapping[Parts, Boxes]
    categories: frozenset[str]


def read_coco(path: Path) -> Coco:
    """Boxes of a COCO instances file, ``bbox`` being ``[x, y, width, height]`` in pixels from 0.

    Outlines (``segmentation``) are not read; a warning says so where there are some.

    Raises:
        UnreadableImageError: no such file; the message has the file and the reason.
    """
    try:
        content = json.loads(path.read_bytes())
        categories = {entry["id"]: _text(entry["name"]) for entry in _entries(content, "categories")}
        found: dict[Any, list[Box]] = {entry["id"]: [] for entry in _entries(content, "images")}
        if len(found) < len(content["images"]):
            raise ValueError("two images have one id")
        outlines = False
        for entry in _entries(content, "annotations"):
            boxes_of = _defined(found, entry, "image_id")
            boxes_of.append(_box(entry["bbox"], _defined(categories, entry, "category_id")))
            outlines = outlines or bool(entry.get("segmentation"))
        boxes: dict[Parts, Boxes] = {}
        for entry in content["images"]:
            name = _text(entry["file_name"])
            if parts_of(name) in boxes:
                raise ValueError(f"two images have the file_name {name!r}")
            boxes[parts_of(name)] = Boxes(f"{path}: {name}", tuple(found[entry["id"]]), _size(entry))
    except UnreadableImageError:
        raise
    except KeyError as error:
        raise UnreadableImageError(f"{path}: no COCO instances file: {error} is missing") from error
    except (ValueError, TypeError, OverflowError, RecursionError, OSError) as error:
        raise UnreadableImageError(f"{path}: no COCO instances file: {error}") from error
    if outlines:
        warnings.warn(
            f"{path} has outlines (segmentation), of which only the boxes are used. Save masks as PNG files "
            "to use outlines.",
            stacklevel=2,
        )
    return Coco(boxes, frozenset(categories.values()))


def parts_of(path: str) -> Parts:
    """Parts of a path, however its separators and its letters' accents are written."""
    return PurePosixPath(unicodedata.normalize("NFC", path).replace("\\", "/")).parts


def _entries(content: Any, name: str) -> list[dict[str, Any]]:
    entries = content[name] if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"expected a list of objects under {name!r}")
    return entries


def _defined(table: Mapping[Any, T], entry: dict[str, Any], key: str) -> T:
    if entry[key] not in table:
        raise ValueError(f"{key} {entry[key]!r} of an annotation is not defined")
    return table[entry[key]]


def _box(bbox: Any, category: str) -> Box:
    left, top, width, height = map(float, bbox)
    return Box(left, top, left + width, top + height, category)


def _size(entry: dict[str, Any]) -> Size | None:
    width, height = int(entry.get("width") or 0), int(entry.get("height") or 0)
    return (width, height) if width > 0 and height > 0 else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a name, got {value!r:.40}")
    return value
