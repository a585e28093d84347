"""Images in and out: files and PIL images of any mode as RGB, tensors as PIL images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.functional import to_pil_image


def open_image(path: str | Path) -> Image.Image:
    """Read an image file as RGB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, or is cut off.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise FileNotFoundError(f"Expected an image file at {path}, found {found} there.")
    try:
        with Image.open(path) as image:
            return to_rgb(image)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"Cannot read {path} as an image ({error}); replace or remove the file.") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """A PIL image of any mode as RGB; 16-bit gray is scaled to 8 bits, transparency is dropped."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    return image.convert("RGB")


def to_image(pixels: Tensor) -> Image.Image:
    """A tensor [3,H,W] in [0,1] as a PIL image, rounded to 8 bits."""
    return to_pil_image((pixels.detach().cpu().float() * 255).round().byte())
