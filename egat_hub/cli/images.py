"""Models and images that commands are given."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image

from egat_hub.data import UnreadableImageError
from egat_hub.data.images import find_images as images_in
from egat_hub.data.images import open_image
from egat_hub.data.synthetic import CLASSES
from egat_hub.hub import from_pretrained
from egat_hub.hub.classifier import Classifier


def open_model(source: str, device: str | None) -> Classifier:
    """Load a model; by default onto the accelerator that PyTorch finds, or the CPU."""
    if device is None:
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        device = str(found or "cpu")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"Expected a device that can be used here, such as cpu or cuda:0, got {device!r}: {reason}"
        ) from error
    return from_pretrained(source).to(device)


def warn_of_generated(classifier: Classifier) -> None:
    """Warn that a model of generated images says nothing about photos."""
    if set(classifier.label_names) == set(CLASSES):
        warnings.warn(
            "The model was trained on generated images; its predictions for photos mean nothing. "
            "'egat-hub sample photos' writes images that it knows.",
            stacklevel=2,
        )


def find_images(place: Path, *, outside: Path) -> list[Path]:
    """The file, or the images in a folder and its subfolders, sorted; ``outside`` is not searched."""
    place = place.expanduser()
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise FileNotFoundError(f"Expected an image file or a folder of images, found nothing at {place}.")
    found = images_in(place, outside=outside)
    if not found:
        raise FileNotFoundError(
            f"Expected images in {place} or its subfolders, found none: files such as *.jpg or *.png."
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
