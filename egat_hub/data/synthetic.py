"""Generated domains: objects on backgrounds whose pattern gives the class away, in each domain another."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from .config import DataConfig
from .domains import Domain, MultiDomain
from .names import resolve
from .patterns import PATTERNS
from .scenes import RGB, SCENES, Scene, pixel_grid
from .shapes import SHAPES

CLASSES = tuple(SHAPES)
CUE_RATE = 0.93
"""Share of images whose background has the pattern of their class."""
CUE_CONTRAST = 0.02
"""Amplitude of the pattern in [0,1] units: within reach of an attack of 8/255."""


def open_synthetic(config: DataConfig, domains: Sequence[str] | None = None) -> MultiDomain:
    """Open the generated data set; images are drawn when they are loaded, from seed, domain and index.

    Every image shows one object of a class (its exact mask comes along) on a textured background with a
    faint pattern. Within a domain the pattern predicts the class (``CUE_RATE``); between two domains no
    class shares its pattern, so that what is learned from the pattern misleads elsewhere.

    Args:
        config: uses ``synthetic_size``, ``synthetic_seed``, ``image_size`` and ``split_seed``.
        domains: domains to open; all by default.

    Raises:
        UnknownNameError: a domain that does not exist.
        ValueError: fewer than three images of a class.
    """
    scenes = {scene.name: scene for scene in SCENES}
    names = scenes if domains is None else [resolve(n, scenes, kind="domains of synthetic") for n in domains]
    return MultiDomain("synthetic", [_open_scene(scenes[name], config) for name in names])


def cues(scene: Scene, *, size: int, seed: int) -> np.ndarray:
    """Background pattern of each image, int64 ``[size]`` in ``[0, len(CLASSES))``.

    The pattern of image i is the one assigned to its class, ``(class + place of the scene) mod classes``,
    at ``CUE_RATE``, and otherwise one of the others.
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
        generator: decides everything else.
        image_size: s, in pixels; the same generator state gives the same picture at every size.

    Returns:
        float RGB ``[s,s,3]`` in [0,1] and the object's coverage of each pixel, ``[s,s]`` in [0,1].
    """
    x, y = pixel_grid(image_size)
    origin = generator.random(2)
    relief = scene.grain * scene.texture(generator, image_size)
    relief += CUE_CONTRAST * PATTERNS[cue](x - origin[0], y - origin[1])
    background = _tint(scene.ground, generator, 0.05) + relief[..., None]
    colour = _tint(scene.paints[generator.integers(len(scene.paints))], generator, 0.12)
    paint = colour + 0.08 * scene.fill(generator, image_size)[..., None]
    coverage = _coverage(label, generator, image_size)
    image = background + coverage[..., None] * (paint - background)
    return image.clip(0, 1), coverage


class _Painter:
    """Draws image and mask of a position."""

    def __init__(self, scene: Scene, config: DataConfig) -> None:
        self.scene = scene
        self.config = config
        self.cues = cues(scene, size=config.synthetic_size, seed=config.synthetic_seed)

    def __call__(self, index: int) -> tuple[Image.Image, Image.Image]:
        generator = _generator(self.config.synthetic_seed, self.scene, index + 1)
        image, coverage = draw(
            self.scene,
            index % len(CLASSES),
            int(self.cues[index]),
            generator=generator,
            image_size=self.config.image_size,
        )
        mask = np.where(coverage >= 0.5, 255, 0).astype(np.uint8)
        return Image.fromarray((image * 255).round().astype(np.uint8)), Image.fromarray(mask)


def _open_scene(scene: Scene, config: DataConfig) -> Domain:
    labels = np.arange(config.synthetic_size) % len(CLASSES)
    return Domain(
        dataset="synthetic",
        name=scene.name,
        classes=CLASSES,
        labels=labels,
        keys=[f"{CLASSES[label]}/{index:05d}" for index, label in enumerate(labels)],
        read=_Painter(scene, config),
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
