"""``egat.json``: label names, metadata, and a fingerprint of a saved model's logits."""

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
from egat_hub.models.train_mode import evaluating, full_precision

TOLERANCE = 1e-3
"""Largest deviation of logits at load: rounding gives some 1e-5, normalizing twice some 0.1."""

HALF_TOLERANCE = 3e-2
"""The same for weights that were stored in float16 or bfloat16."""


@dataclass(frozen=True)
class Fingerprint:
    """Logits of a dark image and a bright one in eval mode, six significant digits, C of each.

    The dark image is ``x = torch.rand(1, 3, 4, 4) / 2`` of a CPU generator with ``seed``, the bright one
    1 - x, both enlarged to ``image_size`` by nearest neighbour.
    """

    seed: int
    image_size: int
    logits: tuple[float, ...]

    @classmethod
    def of(cls, model: TimmModel, *, seed: int = 0) -> Fingerprint:
        """Take the fingerprint of a model on its device; raises a ValueError if logits are not finite."""
        logits = _logits(model, seed, model.image_size)
        if not torch.isfinite(logits).all():
            raise ValueError(
                "The network's logits are not finite, so its weights are broken; use an earlier checkpoint."
            )
        return cls(seed, model.image_size, tuple(float(f"{v:.6g}") for v in logits.flatten().tolist()))

    def deviation(self, model: TimmModel) -> float:
        """Largest difference of a logit, relative to how far the logits of the two images lie apart.

        1 % of the largest logit is added to that distance, for networks that hardly tell the images apart.
        Infinite if the number of classes differs or a logit is not finite.
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
    """Content of ``egat.json``; the metadata say how the model was made, in JSON types."""

    label_names: tuple[str, ...]
    fingerprint: Fingerprint
    metadata: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(to_dict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest; a ValueError names a file that holds none, or one of a newer version."""
        content = read_json_object(path)
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"{path}: schema_version is {version!r} but {SCHEMA_VERSION} is read; upgrade egat_hub."
            )
        try:
            manifest = from_dict(cls, content)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not a manifest of egat_hub: {error!s:.500} Save the model again."
            ) from error
        if not isinstance(manifest.fingerprint, Fingerprint) or not isinstance(manifest.metadata, Mapping):
            raise ValueError(f"{path}: expected fingerprint and metadata as objects; save the model again.")
        return manifest
