"""Image files that a command line names, and files made for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from egat_hub.data.images import UnreadableImageError, image_suffixes, open_image


def find_images(place: Path, *, outside: Path) -> list[Path]:
    """The file, or the images in a folder and its sub-folders, sorted; hidden ones are left out.

    Args:
        place: an image file or a folder.
        outside: a folder that is not searched, where the command itself writes.

    Raises:
        FileNotFoundError: nothing is there, or a folder without images.
    """
    place = place.expanduser()
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise FileNotFoundError(f"Expected an image file or a folder of images, found nothing at {place}.")
    suffixes, outside = image_suffixes(), outside.resolve()
    found = sorted(
        path
        for path in place.rglob("*")
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(place).parts)
        and outside not in path.resolve().parents
    )
    if not found:
        raise FileNotFoundError(
            f"Expected images in {place} or its sub-folders, found none; images are known by their suffix, "
            "such as .jpg or .png."
        )
    return found


def open_batches(
    paths: Sequence[Path], size: int, problems: list[str]
) -> Iterator[list[tuple[Path, Image.Image]]]:
    """Images in batches; one that cannot be read adds to ``problems``, and the others go on."""
    for start in range(0, len(paths), size):
        batch = []
        for path in paths[start : start + size]:
            try:
                batch.append((path, open_image(path)))
            except (UnreadableImageError, OSError) as error:
                problems.append(str(error))
        if batch:
            yield batch


def png_of(path: Path, place: Path, output: Path) -> Path:
    """Where a PNG made from an image goes: its place in the folder of images, kept in ``output``.

    The whole name stays in front, ``dog.jpg.png``, so that ``dog.jpg`` and ``dog.bmp`` do not meet.
    """
    place = place.expanduser()
    relative = path.relative_to(place) if place.is_dir() else Path(path.name)
    made = output / relative.with_name(f"{path.name}.png")
    made.parent.mkdir(parents=True, exist_ok=True)
    return made
