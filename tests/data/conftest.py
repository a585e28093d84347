"""Small image trees to open."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeTree = Callable[..., Path]


def picture(seed: int, size: tuple[int, int] = (24, 20)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    """Writes ``root/<domain>/<class>/<n>.jpg``."""

    def make(domains: Iterable[str], classes: Iterable[str], *, count: int = 5, root: str = "images") -> Path:
        classes = tuple(classes)
        for d, domain in enumerate(domains):
            for c, name in enumerate(classes):
                folder = tmp_path / root / domain / name
                folder.mkdir(parents=True)
                for n in range(count):
                    picture(100 * d + 10 * c + n).save(folder / f"{n:04d}.jpg")
        return tmp_path / root

    return make


@pytest.fixture
def masked_tree(make_tree: MakeTree, tmp_path: Path) -> tuple[Path, Path]:
    """An image tree of two domains and two classes, and the masks that belong to it."""
    root, masks = make_tree(("indoor", "outdoor"), ("cat", "dog")), tmp_path / "masks"
    for image in root.glob("*/*/*.jpg"):
        mask = masks / image.relative_to(root).with_suffix(".png")
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.pad(np.full((10, 12), 255, np.uint8), ((5, 5), (6, 6)))).save(mask)
    return root, masks
