"""Which corruptions a list of names stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from egat_hub.core.randomness import SampleRandom
from egat_hub.core.registry import Registry

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True, eq=False)
class Corruption:
    """A corruption of images at five severities.

    The class owns the contract; ``draw`` holds what is particular to a corruption. Every image is corrupted
    on its own, with random numbers of its own, which are the same at every severity: the streaks of an image
    keep their direction and only grow. Works in float32 without gradients; nothing but the severity decides
    the strength.

    Attributes:
        draw: images float32 [B,3,H,W] in [0,1], keyed random numbers and the numbers of a level to corrupted
            images [B,3,H,W], which need not be in [0,1] yet.
        levels: arguments of ``draw`` at severity 1 to 5.
        notes: what a result row says of it besides name and severity.
    """

    draw: Callable[..., Tensor]
    levels: tuple[tuple[float, ...], ...]
    notes: Mapping[str, Any] = field(default_factory=dict)

    @torch.no_grad()
    def __call__(self, images: Tensor, severity: int, random: SampleRandom) -> Tensor:
        """Corrupted images [B,3,H,W] in [0,1], of the type of ``images`` and on their device.

        Args:
            images: clean images [B,3,H,W] in [0,1].
            severity: 1 to 5.
            random: keyed random numbers of these images.

        Raises:
            ValueError: another severity.
        """
        check_severity(severity)
        if not len(images):
            return images.clone()
        corrupted = self.draw(images.float(), random, *self.levels[severity - 1])
        return corrupted.clamp(0, 1).to(images.dtype)


CORRUPTIONS: Registry[Corruption] = Registry("corruptions")


def graded(*levels: float | tuple[float, ...], **notes: Any) -> Callable[[Callable[..., Tensor]], Corruption]:
    """Decorator that makes a function of images, random numbers and a level a :class:`Corruption`.

    Args:
        levels: the level at severity 1 to 5, a number or several.
        notes: what a result row says of it besides name and severity.
    """
    tuples = tuple(level if isinstance(level, tuple) else (level,) for level in levels)

    return lambda draw: Corruption(draw, tuples, notes)


def check_severity(severity: int) -> None:
    """Refuse what is no severity.

    Raises:
        ValueError: the message names those that there are.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"Expected a severity among 1, 2, 3, 4 and 5, got {severity!r}.")


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
