"""What a classifier predicts for a photo, and where in the photo it looks."""

from __future__ import annotations

import io
import math
import operator
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from egat_hub.core.registry import suggestion
from egat_hub.data.images import open_image, read_image, to_image, to_rgb
from egat_hub.explanations.base import enlarge
from egat_hub.explanations.overlay import overlay

ImageLike = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray | Tensor

FORMS = (
    "a path, a PIL image, the bytes of an image file, an open binary file, a uint8 array [H,W,3] or [H,W], "
    "or a float tensor [3,S,S] in [0,1]"
)


def to_photo(image: ImageLike) -> Image.Image:
    """Open an image in any of its forms as upright RGB."""
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if isinstance(image, Tensor):
        return to_image(image)
    if isinstance(image, str) and image.startswith(("http://", "https://")):
        raise ValueError(f"Expected a path, got the URL {image}; download the file and pass its bytes.")
    if isinstance(image, (str, os.PathLike)):
        return open_image(Path(image).expanduser())
    if isinstance(image, bytes):
        return read_image(io.BytesIO(image), name="image")
    if not isinstance(image, np.ndarray) and hasattr(image, "read"):
        return read_image(image, name=str(getattr(image, "name", "image")))
    found = type(image).__name__
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] in ((3,), (4,))):
            return to_rgb(Image.fromarray(image))
        found = f"an array {image.dtype} {list(image.shape)}"
    raise TypeError(f"Expected {FORMS}, got {found}.")


@dataclass(frozen=True, eq=False)
class Prediction:
    """A prediction for a photo and its explanation.

    Attributes:
        label: name of the explained class.
        probability: probability of that class, in [0, 1].
        probabilities: probability of every class by name; they sum to 1.
        saliency: [S,S] in [0,1] on the CPU, the map at the size of the network's input.
        image: the network's input, S x S pixels.
        dead: whether the map is constant, so that it shows nothing.
        source: the photo as it was passed.
        crop: height and width of the centred part of the photo that the network saw, in pixels; larger than
            the photo where the network's input was padded.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]
    saliency: Tensor
    image: Image.Image
    dead: bool
    source: ImageLike
    crop: tuple[float, float]

    @property
    def photo(self) -> Image.Image:
        """The photo in upright RGB at its own size."""
        return self.image if isinstance(self.source, Tensor) else to_photo(self.source)

    def saliency_of(self, photo: Image.Image) -> Tensor:
        """The map at the size of the photo, [H,W] in [0,1]; 0 where the network did not look."""
        height, width = (max(1, round(side)) for side in self.crop)
        part = enlarge(self.saliency[None], (height, width))[0].clamp(0, 1)
        top, left = (photo.height - height) // 2, (photo.width - width) // 2
        part = part[max(0, -top) : photo.height - top, max(0, -left) : photo.width - left]
        whole = torch.zeros(photo.height, photo.width)
        whole[max(0, top) :, max(0, left) :][: part.shape[0], : part.shape[1]] = part
        return whole

    def overlay(self, alpha: float = 0.5) -> Image.Image:
        """Blend the map with the photo, at its size; ``alpha`` from 0 (gray photo) to 1 (map only)."""
        photo = self.photo
        return overlay(photo, self.saliency_of(photo), alpha=alpha)

    def panel(self, alpha: float = 0.5) -> Image.Image:
        """Draw the photo, the overlay and its scale side by side, with the three most probable classes."""
        photo = self.photo
        factor = max(1, math.ceil(256 / min(photo.size)))
        size = photo.width * factor, photo.height * factor
        text = max(16, size[1] // 20)
        ramp = torch.linspace(1, 0, size[1])[:, None].expand(size[1], text)
        scale = overlay(Image.new("RGB", (text, size[1])), ramp, alpha=1.0)
        parts = [photo.resize(size), self.overlay(alpha).resize(size), scale]
        width = sum(part.width for part in parts) + 6 * text
        canvas = Image.new("RGB", (width, size[1] + 6 * text), "white")
        draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(text)
        left = text
        for part in parts:
            canvas.paste(part, (left, text))
            left += part.width + text
        draw.text((left, text), "1", "black", font)
        draw.text((left, size[1]), "0", "black", font)
        top = sorted(self.probabilities.items(), key=lambda item: -item[1])[:3]
        lines = [f"map of {self.label}", ", ".join(f"{name} {value:.1%}" for name, value in top)]
        draw.multiline_text((text, size[1] + 2 * text), "\n".join(lines), "black", font)
        return canvas


def label_index(label: str | int, label_names: Sequence[str]) -> int:
    """Index of a class given by name or by index of any integer type."""
    if isinstance(label, str):
        if label in label_names:
            return label_names.index(label)
        hint = suggestion(label, label_names)
        raise ValueError(f"No class {label!r}.{hint} Known: {', '.join(label_names[:20])}.")
    try:
        if isinstance(label, (bool, np.bool_)):
            raise TypeError
        index = operator.index(label)
    except TypeError:
        raise TypeError(
            f"Expected the name or the integer index of a class, got {label!r} ({type(label).__name__})."
        ) from None
    if not 0 <= index < len(label_names):
        raise ValueError(f"Expected a class index from 0 to {len(label_names) - 1}, got {index}.")
    return index


def check_label_names(label_names: Any, num_classes: int) -> tuple[str, ...]:
    """Label names as a tuple: one distinct, printable name per class."""
    if not isinstance(label_names, (list, tuple)) or not all(isinstance(name, str) for name in label_names):
        raise ValueError(
            f"Expected label_names as a list of strings in the order of the logits, got {label_names!r:.200}."
        )
    if len(label_names) != num_classes:
        raise ValueError(
            f"Expected {num_classes} label names, one per class of the network, got {len(label_names)}: "
            f"{', '.join(label_names[:10])}."
        )
    unprintable = sorted(name for name in label_names if not name.isprintable())
    if unprintable:
        raise ValueError(f"Expected label names of printable characters, got {unprintable[:3]!r:.200}.")
    twice = sorted(name for name, count in Counter(label_names).items() if count > 1)
    if twice:
        raise ValueError(f"Expected distinct label names, got more than one {', '.join(twice[:10])}.")
    return tuple(label_names)
