"""Which corruptions a list of names stands for."""

from __future__ import annotations

from collections.abc import Iterable

from egat_hub.corruptions.base import CORRUPTIONS

ALL = "all"
IMAGENET_C = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The 15 families of ImageNet-C in the order of the paper."""


def families(names: Iterable[str]) -> tuple[str, ...]:
    """Names of corruptions, each once; ``"all"`` stands for :data:`IMAGENET_C`.

    Raises:
        UnknownNameError: a corruption that does not exist.
    """
    found: dict[str, None] = {}
    for name in names:
        found |= dict.fromkeys(IMAGENET_C if name == ALL else (name,))
    for name in found:
        CORRUPTIONS[name]
    return tuple(found)
