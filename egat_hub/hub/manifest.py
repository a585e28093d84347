"""``egat.json``: what is known of a saved model, and a fingerprint of its logits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.core.config import from_dict, to_dict
from egat_hub.core.files import read_json_object
from egat_hub.models import TimmModel
from egat_hub.models.modes import evaluating, full_precision

TOLERANCE = 1e-3
"""Largest deviation that counts as equal: far above what other hardware or another library rounds differently
(some 1e-5), far below what normalising twice does (some 0.1)."""


@dataclass(frozen=True)
class Fingerprint:
    """Logits of a dark and a bright image, generated.

    They differ widely, so that it shows how the logits depend on the image and not the bias of the last layer
    alone.

    Attributes:
        seed: seed of a CPU generator for ``x = torch.rand(1, 3, 4, 4) / 2``. The images are x and 1 - x,
            enlarged to S x S by nearest neighbour.
        image_size: side S of the images.
        logits: the network's answers in eval mode, C for the dark image and C for the bright one, six
            significant digits.

    Raises:
        TypeError: a value of another type.
    """

    seed: int
    image_size: int
    logits: tuple[float, ...]

    def __post_init__(self) -> None:
        integers = type(self.seed) is int and type(self.image_size) is int
        if not integers or not isinstance(self.logits, tuple):
            raise TypeError("Expected a fingerprint of an integer seed, an integer image_size and logits.")
        if not 0 <= self.seed < 2**63 or self.image_size < 1:
            raise TypeError("Expected a fingerprint of a seed from 0 to 2**63 and a positive image_size.")
        if not all(type(value) in (int, float) and math.isfinite(value) for value in self.logits):
            raise TypeError("Expected the fingerprint's logits to be finite numbers.")

    @classmethod
    def of(cls, model: TimmModel, *, seed: int = 0) -> Fingerprint:
        """Take the fingerprint of a backbone, where it is and in its own precision.

        Raises:
            ValueError: the logits are not finite.
        """
        logits = _logits(model, seed, model.image_size).flatten()
        if not torch.isfinite(logits).all():
            raise ValueError(
                "The network's logits are not finite, so its weights are broken; use an earlier checkpoint."
            )
        return cls(seed, model.image_size, tuple(float(f"{v:.6g}") for v in logits.tolist()))

    def deviation(self, model: TimmModel) -> float:
        """Largest difference of a logit, relative to how far the two images' logits lie apart.

        A hundredth of the largest logit is added to that distance, for networks that hardly tell the images
        apart. Infinite if the number of classes differs or a logit is not finite.
        """
        logits = _logits(model, self.seed, self.image_size)
        if logits.numel() != len(self.logits):
            return math.inf
        expected = torch.tensor(self.logits).view_as(logits)
        scale = (expected[0] - expected[1]).abs().max() + 0.01 * expected.abs().max()
        difference = (logits - expected).abs().max() / scale.clamp(min=1e-6)
        return float(difference.nan_to_num(nan=math.inf))


@torch.no_grad()
def _logits(model: TimmModel, seed: int, image_size: int) -> Tensor:
    dark = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) / 2
    images = F.interpolate(torch.cat([dark, 1 - dark]), size=(image_size, image_size))
    with evaluating(model), full_precision(model.mean.device):
        return model(images.to(model.mean)).float().cpu()


SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """The content of ``egat.json``.

    Attributes:
        label_names: one name a class, in the order of the logits.
        fingerprint: logits of two fixed images, checked at load.
        metadata: how the model came to be (method, config, seed, versions...), of JSON types.
        schema_version: version of this file format.

    Raises:
        TypeError: a value of another type.
        ValueError: a schema version that this release does not read.
    """

    label_names: tuple[str, ...]
    fingerprint: Fingerprint
    metadata: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version is {self.schema_version!r} and this release reads {SCHEMA_VERSION}; "
                "install a newer egat_hub."
            )
        names_fit = isinstance(self.label_names, tuple) and all(isinstance(n, str) for n in self.label_names)
        parts_fit = isinstance(self.metadata, Mapping) and isinstance(self.fingerprint, Fingerprint)
        if not names_fit or not parts_fit:
            raise TypeError(
                "Expected label_names as a list of strings, fingerprint and metadata as objects, got "
                f"{type(self.label_names).__name__}, {type(self.fingerprint).__name__} and "
                f"{type(self.metadata).__name__}."
            )

    def write(self, path: Path) -> None:
        """Write the manifest as JSON."""
        path.write_text(json.dumps(to_dict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read what :meth:`write` wrote.

        Raises:
            ValueError: not JSON, or not a manifest; the message names the file.
        """
        content = read_json_object(path)
        try:
            return from_dict(cls, content)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not as egat_hub writes it: {str(error)[:500]} Save the model again."
            ) from error
