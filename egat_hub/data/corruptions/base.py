"""The contract of corruptions, and their registry."""

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

    Images are corrupted independently, with random numbers of their own that are the same at every severity:
    the streaks of an image keep their direction and only grow. Computed in float32 without gradients.

    Attributes:
        draw: ``(images, random, *level)`` to corrupted images, float32 [B,3,H,W]; inputs are in [0,1],
            outputs are clipped afterwards.
        levels: further arguments of ``draw`` at severity 1 to 5.
        notes: added to the protocol of result rows.
    """

    draw: Callable[..., Tensor]
    levels: tuple[tuple[float, ...], ...]
    notes: Mapping[str, Any] = field(default_factory=dict)

    @torch.no_grad()
    def __call__(self, images: Tensor, severity: int, random: SampleRandom) -> Tensor:
        """Corrupt images.

        Args:
            images: clean images [B,3,H,W] in [0,1].
            severity: 1 to 5.
            random: keyed random numbers of these images.

        Returns:
            Corrupted images [B,3,H,W] in [0,1], with the dtype and device of ``images``.

        Raises:
            ValueError: another severity.
        """
        check_severity(severity)
        if not len(images):
            return images.clone()
        corrupted = self.draw(images.float(), random, *self.levels[severity - 1])
        return corrupted.clamp(0, 1).to(images.dtype)


CORRUPTIONS: Registry[Corruption] = Registry("corruptions")


def corruption(
    *levels: float | tuple[float, ...], **notes: Any
) -> Callable[[Callable[..., Tensor]], Corruption]:
    """Decorator that registers a function ``(images, random, *level)`` as a corruption of its name.

    Args:
        levels: the level at severity 1 to 5, one or several numbers.
        notes: added to the protocol of result rows.
    """
    tuples = tuple(level if isinstance(level, tuple) else (level,) for level in levels)
    return lambda draw: CORRUPTIONS.register(draw.__name__)(Corruption(draw, tuples, notes))


def check_severity(severity: int) -> None:
    """Raise a ``ValueError`` for anything but 1 to 5."""
    if severity not in SEVERITIES:
        raise ValueError(f"Expected a severity from 1 to 5, got {severity!r}.")


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
"""The 15 corruptions of ImageNet-C, in the order of the paper."""


def families(names: Iterable[str]) -> tuple[str, ...]:
    """Names of corruptions without duplicates; ``"all"`` expands to :data:`IMAGENET_C`.

    Raises:
        UnknownNameError: no such corruption.
    """
    expanded = [name for given in names for name in (IMAGENET_C if given == "all" else (given,))]
    for name in expanded:
        CORRUPTIONS[name]
    return tuple(dict.fromkeys(expanded))
