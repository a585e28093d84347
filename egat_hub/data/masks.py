"""Object masks of a folder of images: mask files, or filled boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from egat_hub.data.annotations import Boxes, Parts, parts_of, read_coco, read_voc
from egat_hub.data.domains import normalize_name, summarize
from egat_hub.data.images import Size, UnreadableImageError, read_mask


@dataclass(frozen=True)
class MaskFile:
    """A mask that is stored as an image."""

    path: Path

    def draw(self, size: Size) -> Image.Image:
        """Read the mask (``"L"``) for an upright image of this size; see :func:`read_mask`."""
        return read_mask(self.path, name=str(self.path), size=size)


T = TypeVar("T")

Mask = MaskFile | Boxes

Masks = Callable[[str, Path, Sequence[Path], Sequence[str]], "list[Mask] | None"]
"""(name and folder of a domain, its images, class of each) -> mask of each image, or None if none has one."""


def open_masks(masks_dir: str) -> Masks:
    """Open masks in one of these forms.

    - A folder of ``<domain>/<class>/<stem>.png`` masks or ``<stem>.xml`` boxes (Pascal VOC), named like the
      images. If both exist, the mask is used.
    - A COCO JSON file of boxes, with ``file_name`` equal to ``<domain>/<class>/<name>``, or to an
      unambiguous end of it.

    If the annotations have a category named like the class of an image, only its boxes are used for that
    image, otherwise all boxes are.

    Raises:
        FileNotFoundError: ``masks_dir`` does not exist; when called, some images have no mask.
        UnreadableImageError: a damaged annotation; when called, images have no box.
    """
    path = Path(masks_dir).expanduser()
    if path.is_file():
        return _CocoMasks(path)
    if path.is_dir():
        return _FolderMasks(path)
    raise FileNotFoundError(
        f"masks_dir {path} does not exist. Expected a folder of <domain>/<class>/<stem>.png masks or .xml "
        "boxes (Pascal VOC), or a COCO JSON file."
    )


class _FolderMasks:
    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(
        self, domain: str, folder: Path, images: Sequence[Path], classes: Sequence[str]
    ) -> list[Mask] | None:
        root = self.root / (folder.name or domain)
        stems = [root / image.relative_to(folder).with_suffix("") for image in images]
        files = _all_or_none(
            [_existing(stem) for stem in stems],
            [f"{stem}.png (or .xml)" for stem in stems],
            f"images of domain {domain!r} have no mask",
        )
        if files is None:
            return None
        problems: list[str] = []
        masks: list[Mask] = []
        for file in files:
            try:
                masks.append(MaskFile(file) if file.suffix == ".png" else read_voc(file))
            except UnreadableImageError as error:
                problems.append(str(error))
        if problems:
            raise UnreadableImageError(
                f"{len(problems)} of {len(files)} annotations of domain {domain!r} cannot be used:\n"
                f"{summarize(problems)}\nReplace these files."
            )
        names = {box.category for mask in masks if isinstance(mask, Boxes) for box in mask.boxes}
        return _of_classes(domain, masks, classes, names)


class _CocoMasks:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.boxes, self.categories = read_coco(path)
        self.images: dict[Parts, Path] = {}

    def __call__(
        self, domain: str, folder: Path, images: Sequence[Path], classes: Sequence[str]
    ) -> list[Mask] | None:
        entries = _all_or_none(
            [self._entry(image) for image in images],
            images,
            f"images of domain {domain!r} are not in {self.path}, where each file_name must be "
            "'<domain>/<class>/<name>' or the end of it",
        )
        if entries is None:
            return None
        for entry, image in zip(entries, images, strict=True):
            other = self.images.setdefault(entry, image)
            if other != image:
                raise ValueError(
                    f"{self.path}: file_name {'/'.join(entry)!r} matches {other} and {image}. "
                    "Add domain and class, '<domain>/<class>/<name>'."
                )
        return _of_classes(domain, [self.boxes[entry] for entry in entries], classes, self.categories)

    def _entry(self, image: Path) -> Parts | None:
        """The longest suffix of a path that is an image of the file."""
        parts = parts_of(image.as_posix())
        ends = (parts[start:] for start in range(len(parts)))
        return next((end for end in ends if end in self.boxes), None)


def _existing(stem: Path) -> Path | None:
    files = (stem.with_name(stem.name + suffix) for suffix in (".png", ".xml"))
    return next((file for file in files if file.is_file()), None)


def _all_or_none(found: Sequence[T | None], names: Sequence[object], problem: str) -> list[T] | None:
    """``found`` if nothing is missing, None if everything is.

    Raises:
        FileNotFoundError: some are missing.
    """
    missing = [name for name, item in zip(names, found, strict=True) if item is None]
    if missing and len(missing) < len(found):
        raise FileNotFoundError(
            f"{len(missing)} of {len(found)} {problem}, for example {missing[0]}. "
            "Add the masks, or omit masks_dir."
        )
    return [item for item in found if item is not None] or None


def _of_classes(
    domain: str, masks: Sequence[Mask], classes: Sequence[str], categories: Iterable[str]
) -> list[Mask]:
    """Reduce boxes to those of the image's class, if there is a category of that name."""
    names = {normalize_name(name) for name in categories}
    chosen = [
        mask.of(name) if isinstance(mask, Boxes) and normalize_name(name) in names else mask
        for mask, name in zip(masks, classes, strict=True)
    ]
    problems = [
        f"{mask.name}: no box of {name!r}, only of {', '.join(dict.fromkeys(b.category for b in mask.boxes))}"
        if mask.boxes
        else f"{mask.name}: no box"
        for mask, used, name in zip(masks, chosen, classes, strict=True)
        if isinstance(mask, Boxes) and isinstance(used, Boxes) and not used.boxes
    ]
    if problems:
        raise UnreadableImageError(
            f"{len(problems)} of {len(masks)} images of domain {domain!r} have no box:\n"
            f"{summarize(problems)}\n"
            "Add boxes (around the whole image if it shows no object), or remove the images."
        )
    return chosen
