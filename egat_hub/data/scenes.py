"""Surroundings of the generated objects: palettes, textures, and how objects are painted in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

RGB = tuple[float, float, float]
Grid = tuple[np.ndarray, np.ndarray]
Draw = Callable[[np.random.Generator, int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Scene:
    """One domain of the generated data.

    Attributes:
        name: domain name.
        ground: RGB of the background, in [0,1].
        paints: mean RGB of the objects, in [0,1]; each object has one of them.
        texture: draws float ``[s,s]`` in about [-1,1], the grain of the background.
        grain: amplitude of the texture.
        fill: draws float ``[s,s]`` in about [-1,1], the grain of the objects.
    """

    name: str
    ground: RGB
    paints: tuple[RGB, ...]
    texture: Draw
    grain: float
    fill: Draw


def noise(generator: np.random.Generator, size: int, rows: int, columns: int) -> np.ndarray:
    """Smooth random field ``[size,size]`` in [-1,1] with ``rows`` x ``columns`` independent patches."""
    patches = generator.uniform(-1, 1, (rows + 1, columns + 1))
    return _blend(size, rows) @ patches @ _blend(size, columns).T


def pixel_grid(size: int) -> Grid:
    """Pixel centres ``x, y``, each ``[size,size]`` in (0,1)."""
    centres = (np.arange(size) + 0.5) / size
    return np.meshgrid(centres, centres)


def _blend(size: int, cells: int) -> np.ndarray:
    place = (np.arange(size) + 0.5) / size * cells
    distance = np.abs(place[:, None] - np.arange(cells + 1))
    return np.where(distance < 1, (1 + np.cos(np.pi * distance)) / 2, 0.0)


def _grass(generator: np.random.Generator, size: int) -> np.ndarray:
    return 0.6 * noise(generator, size, 6, 40) + 0.5 * noise(generator, size, 5, 5)


def _dunes(generator: np.random.Generator, size: int) -> np.ndarray:
    _, y = pixel_grid(size)
    return np.sin(2 * np.pi * (2.5 * y + 0.5 * noise(generator, size, 2, 3))) * 0.7


def _waves(generator: np.random.Generator, size: int) -> np.ndarray:
    return 0.8 * noise(generator, size, 9, 5) + 0.3 * noise(generator, size, 24, 12)


def _stars(generator: np.random.Generator, size: int) -> np.ndarray:
    return np.maximum(noise(generator, size, 24, 24) - 0.45, 0) * 4 - 0.2


def _flat(generator: np.random.Generator, size: int) -> np.ndarray:
    return np.zeros((size, size))


def _mottled(generator: np.random.Generator, size: int) -> np.ndarray:
    return noise(generator, size, 14, 14)


def _shaded(generator: np.random.Generator, size: int) -> np.ndarray:
    x, y = pixel_grid(size)
    angle = generator.uniform(0, 2 * np.pi)
    return 3 * (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5))


def _streaked(generator: np.random.Generator, size: int) -> np.ndarray:
    return noise(generator, size, 30, 4)


SCENES: tuple[Scene, ...] = (
    Scene("meadow", (0.38, 0.48, 0.30), ((0.92, 0.86, 0.70), (0.10, 0.06, 0.06)), _grass, 0.05, _flat),
    Scene("desert", (0.60, 0.52, 0.40), ((0.96, 0.94, 0.88), (0.14, 0.12, 0.22)), _dunes, 0.05, _mottled),
    Scene("ocean", (0.32, 0.46, 0.56), ((0.92, 0.80, 0.68), (0.08, 0.08, 0.12)), _waves, 0.05, _shaded),
    Scene("night", (0.28, 0.27, 0.38), ((0.80, 0.84, 0.90), (0.02, 0.03, 0.05)), _stars, 0.05, _streaked),
)
