"""Boxes in the form of Pascal VOC: one XML file an image."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from .aspect import Size
from .boxes import Box, Boxes
from .images import UnreadableImageError

_LARGEST = 10_000_000


def read_voc(path: Path) -> Boxes:
    """Boxes of a VOC annotation, whose corners count pixels from 1 and include the last one.

    A document type or an entity is refused, as they can make a small file grow without end.

    Raises:
        UnreadableImageError: no such annotation; the message has the file and the reason.
    """
    try:
        root = ElementTree.fromstring(_harmless(path.read_bytes()))
        if root.tag != "annotation":
            raise ValueError(f"expected an <annotation>, got <{root.tag[:40]}>")
        boxes = tuple(_box(found) for found in root.findall("object"))
        return Boxes(str(path), boxes, _size(root.find("size")))
    except UnreadableImageError:
        raise
    except (ElementTree.ParseError, ValueError, OverflowError, LookupError, OSError) as error:
        raise UnreadableImageError(f"{path}: no Pascal VOC annotation: {error}") from error


def _harmless(content: bytes) -> bytes:
    if len(content) > _LARGEST:
        raise ValueError(f"{len(content)} bytes are too many for one image")
    # Every encoding that the parser knows writes these words as ASCII does, but for those with zero bytes.
    if b"\0" in content or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("document types, entities and UTF-16 are not read; save it as plain UTF-8")
    return content


def _box(found: ElementTree.Element) -> Box:
    corners = found.find("bndbox")
    if corners is None:
        raise ValueError("an <object> has no <bndbox>")
    left, top, right, bottom = (_number(corners, name) for name in ("xmin", "ymin", "xmax", "ymax"))
    return Box(left - 1, top - 1, right, bottom, (found.findtext("name") or "").strip())


def _size(found: ElementTree.Element | None) -> Size | None:
    if found is None:
        return None
    width, height = (int(_number(found, name)) for name in ("width", "height"))
    return (width, height) if width > 0 and height > 0 else None  # some tools write 0 for unknown


def _number(parent: ElementTree.Element, name: str) -> float:
    text = parent.findtext(name)
    if text is None:
        raise ValueError(f"a <{parent.tag}> has no <{name}>")
    return float(text)
