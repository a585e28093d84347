"""Generated images: shapes in scenes, with a spurious background and object masks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from egat_hub.data.config import DataConfig
from egat_hub.data.domains import SOURCES, Domain, MultiDomain, select_names

Outline = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A function of coordinates ``x, y``."""


def star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Five points; each half point is the half-plane behind the edge from its tip to the next notch."""
    fifth = 2 * np.pi / 5
    angle = np.abs(np.mod(np.arctan2(x, y) + fifth / 2, fifth) - fifth / 2)
    radius = np.hypot(x, y)
    notch = 0.42 * np.array([np.cos(fifth / 2), np.sin(fifth / 2)])
    edge = notch - (1.0, 0.0)
    normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
    return normal[0] * (radius * np.cos(angle) - 1) + normal[1] * radius * np.sin(angle)


def cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.minimum(x, y) - 0.24, np.maximum(x, y) - 0.9)


SHAPES: dict[str, Outline] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.8,
    "cross": cross,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.71,
    "star": star,
    "triangle": lambda x, y: np.maximum(-y, (np.sqrt(3) * np.abs(x) + y) / 2) - 0.52,
}
"""Signed distance of each class's outline: negative inside, for objects of radius about 1."""


def _wave(phase: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * 8 * phase)  # eight periods per image side


PATTERNS: tuple[Outline, ...] = (
    lambda x, y: _wave(y),
    lambda x, y: _wave(x),
    lambda x, y: _wave((x + y) / np.sqrt(2)),
    lambda x, y: np.sqrt(2) * _wave(x) * _wave(y),
    lambda x, y: _wave(np.hypot(x, y)),
)
"""One per class: brightness in about [-1,1] at ``(x, y)``, relative to the image side and a random origin."""


RGB = tuple[float, float, float]
Draw = Callable[[np.random.Generator, int], np.ndarray]


class Scene(NamedTuple):
    """One domain of the generated data.

    Attributes:
        name: domain name.
        ground: RGB of the background, in [0,1].
        paints: mean RGB colours of the objects, in [0,1]; each object has one of them.
        texture: texture of the background, float ``[s,s]`` in about [-1,1].
        fill: texture of the objects, likewise.
    """

    name: str
    ground: RGB
    paints: tuple[RGB, ...]
    texture: Draw
    fill: Draw


def noise(generator: np.random.Generator, size: int, rows: int, columns: int) -> np.ndarray:
    """Smooth random field ``[size,size]`` in [-1,1] with ``rows`` x ``columns`` independent patches."""
    patches = generator.uniform(-1, 1, (rows + 1, columns + 1))
    return _blend(size, rows) @ patches @ _blend(size, columns).T


def pixel_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres ``x, y``, each ``[size,size]`` in (0,1)."""
    centres = (np.arange(size) + 0.5) / size
    return np.meshgrid(centres, centres)


def _blend(size: int, patches: int) -> np.ndarray:
    place = (np.arange(size) + 0.5) / size * patches
    distance = np.abs(place[:, None] - np.arange(patches + 1))
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


def _shaded(generator: np.random.Generator, size: int) -> np.ndarray:
    x, y = pixel_grid(size)
    angle = generator.uniform(0, 2 * np.pi)
    return 3 * (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5))


_mottled = partial(noise, rows=14, columns=14)
_streaked = partial(noise, rows=30, columns=4)

SCENES: tuple[Scene, ...] = (
    Scene("meadow", (0.38, 0.48, 0.30), ((0.92, 0.86, 0.70), (0.10, 0.06, 0.06)), _grass, _flat),
    Scene("desert", (0.60, 0.52, 0.40), ((0.96, 0.94, 0.88), (0.14, 0.12, 0.22)), _dunes, _mottled),
    Scene("ocean", (0.32, 0.46, 0.56), ((0.92, 0.80, 0.68), (0.08, 0.08, 0.12)), _waves, _shaded),
    Scene("night", (0.28, 0.27, 0.38), ((0.80, 0.84, 0.90), (0.02, 0.03, 0.05)), _stars, _streaked),
)

CLASSES = tuple(SHAPES)
CUE_RATE = 0.93
"""Fraction of images whose background has the pattern of their class."""
CUE_CONTRAST = 0.02
"""Amplitude of the pattern in [0,1]; an attack with epsilon 8/255 can remove it."""


@SOURCES.register("synthetic")
def open_synthetic(config: DataConfig, domains: Sequence[str] | None = None) -> MultiDomain:
    """Open the generated data set; images are drawn on loading, from seed, domain and index.

    Every image shows one object, with its exact mask, on a textured background with a faint pattern. The
    pattern is a spurious cue: within a domain it predicts the class (``CUE_RATE``), and in any other domain
    it predicts another class.

    Args:
        config: uses ``synthetic_size``, ``synthetic_seed``, ``image_size`` and ``split_seed``.
        domains: domains to open; all by default.

    Raises:
        UnknownNameError: no such domain.
        ValueError: fewer than three images of a class.
    """
    scenes = {scene.name: scene for scene in SCENES}
    names = select_names(domains, scenes, kind="domains of synthetic")
    return MultiDomain("synthetic", [_open_scene(scenes[name], config) for name in names])


def cues(scene: Scene, *, size: int, seed: int) -> np.ndarray:
    """Background pattern of each image, int64 ``[size]`` in ``[0, len(CLASSES))``.

    With probability ``CUE_RATE`` it is the pattern of the image's class in this scene,
    ``(class + index of the scene) mod classes``, otherwise one of the others.
    """
    chance = _generator(seed, scene, 0).random((size, 2))
    other = 1 + (chance[:, 1] * (len(CLASSES) - 1)).astype(np.int64)
    stray = np.where(chance[:, 0] < CUE_RATE, 0, other)
    return (np.arange(size) + SCENES.index(scene) + stray) % len(CLASSES)


def draw(
    scene: Scene, label: int, cue: int, *, generator: np.random.Generator, image_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image.

    Args:
        scene: background and painting style.
        label: class of the object.
        cue: pattern of the background.
        generator: source of all other choices.
        image_size: s, in pixels; equal generators give the same picture at any size.

    Returns:
        RGB image, float ``[s,s,3]`` in [0,1], and the object's coverage of each pixel, ``[s,s]`` in [0,1].
    """
    x, y = pixel_grid(image_size)
    origin = generator.random(2)
    relief = 0.05 * scene.texture(generator, image_size)
    relief += CUE_CONTRAST * PATTERNS[cue](x - origin[0], y - origin[1])
    background = _tint(scene.ground, generator, 0.05) + relief[..., None]
    colour = _tint(scene.paints[generator.integers(len(scene.paints))], generator, 0.12)
    paint = colour + 0.08 * scene.fill(generator, image_size)[..., None]
    coverage = _coverage(label, generator, image_size)
    image = background + coverage[..., None] * (paint - background)
    return image.clip(0, 1), coverage


@dataclass(frozen=True)
class _Painter:
    """Draws the image and mask at a position."""

    scene: Scene
    config: DataConfig
    cues: np.ndarray

    def __call__(self, index: int) -> tuple[Image.Image, Image.Image]:
        image, coverage = draw(
            self.scene,
            index % len(CLASSES),
            int(self.cues[index]),
            generator=_generator(self.config.synthetic_seed, self.scene, index + 1),
            image_size=self.config.image_size or 224,
        )
        mask = np.where(coverage >= 0.5, 255, 0).astype(np.uint8)
        return Image.fromarray((image * 255).round().astype(np.uint8)), Image.fromarray(mask)


def _open_scene(scene: Scene, config: DataConfig) -> Domain:
    labels = np.arange(config.synthetic_size) % len(CLASSES)
    drawn = cues(scene, size=config.synthetic_size, seed=config.synthetic_seed)
    return Domain(
        dataset="synthetic",
        name=scene.name,
        classes=CLASSES,
        labels=labels,
        keys=tuple(f"{CLASSES[label]}/{index:05d}" for index, label in enumerate(labels)),
        read=_Painter(scene, config, drawn),
        has_masks=True,
        stored=False,
        split_seed=config.split_seed,
    )


def _generator(seed: int, scene: Scene, stream: int) -> np.random.Generator:
    entropy = [seed, zlib.crc32(scene.name.encode()), stream]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


def _tint(rgb: RGB, generator: np.random.Generator, spread: float) -> np.ndarray:
    return np.array(rgb) + generator.uniform(-spread, spread, 3)


def _coverage(label: int, generator: np.random.Generator, size: int) -> np.ndarray:
    radius = generator.uniform(0.22, 0.36)
    centre_x, centre_y = generator.uniform(radius, 1 - radius, 2)
    angle = generator.uniform(-0.4, 0.4)
    x, y = pixel_grid(size)
    x, y = (x - centre_x) / radius, (y - centre_y) / radius
    turned_x, turned_y = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    distance = SHAPES[CLASSES[label]](turned_x, turned_y)
    return (0.5 - distance * radius * size).clip(0, 1)
