"""Stored batches of an evaluation, so that an interrupted one resumes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from egat_hub.core.config import digest
from egat_hub.core.distributed import gather_objects
from egat_hub.core.files import atomic_write_text
from egat_hub.core.metric import Key
from egat_hub.evaluation.config import PROTOCOL
from egat_hub.evaluation.inputs import Samples, device_of
from egat_hub.models.train_mode import evaluating, full_precision


class Measured(NamedTuple):
    """Positions in the data set and indices of the images of a batch, and their values of every metric."""

    positions: Sequence[int]
    numbers: Sequence[int]
    columns: Mapping[Key, Sequence[float]]


@dataclass(frozen=True)
class Journal:
    """Measured batches in a folder, one small file each, written atomically.

    Every process writes its batches and reads those of all processes. ``key`` is a digest of weights, number
    of images and settings; ``logits`` are those of the first image, none for models with random outputs.
    """

    folder: Path
    key: str
    logits: Sequence[float] = ()

    @classmethod
    @torch.no_grad()
    def of(cls, folder: Path, model: nn.Module, samples: Samples, settings: Mapping[str, Any]) -> Journal:
        """The journal of an evaluation with settings of JSON types; every process calls this."""
        images = samples[0][0][None].to(device_of(model))
        with evaluating(model), full_precision(images.device):
            first, second = model(images), model(images)
        key = digest([PROTOCOL, settings, type(model).__name__, hash_of_weights(model), len(samples)])
        logits = first[0].tolist() if torch.equal(first, second) else []
        return cls(folder, *gather_objects((key, logits))[0])

    def write(self, batch: Measured, images: str) -> None:
        """Store a batch, with the digest of its images and labels."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "key": self.key,
            "logits": self.logits,
            "images": images,
            "positions": batch.positions,
            "numbers": batch.numbers,
            "columns": [[*column, values] for column, values in batch.columns.items()],
        }
        atomic_write_text(self.folder / f"batch_{batch.positions[0]:08d}.json", json.dumps(content) + "\n")

    def read(self, samples: Samples) -> list[Measured]:
        """Read all batches of these samples; those of unreadable files are measured again.

        Raises:
            ValueError: a batch of another evaluation.
        """
        batches = []
        for path in sorted(self.folder.glob("batch_*.json")):
            try:
                content = json.loads(path.read_text())
            except ValueError:
                continue
            if not self._is_own(content, samples):
                raise ValueError(
                    f"{self.folder} holds batches of another evaluation: of another model, images, labels or "
                    "settings, or measured by another version. Name another folder, or remove it."
                )
            columns = {
                Key(metric, _tuples(protocol)): values for metric, protocol, values in content["columns"]
            }
            batches.append(Measured(content["positions"], content["numbers"], columns))
        return batches

    def _is_own(self, content: Mapping[str, Any], samples: Samples) -> bool:
        if content["key"] != self.key or max(content["positions"]) >= len(samples):
            return False
        logits = content["logits"], self.logits
        if all(logits) and not np.allclose(*logits, rtol=1e-3, atol=1e-3, equal_nan=True):
            return False
        images, labels, *_ = zip(*(samples[position] for position in content["positions"]), strict=True)
        return content["images"] == digest_of(torch.stack(images), torch.tensor(labels))


def digest_of(images: Tensor, labels: Tensor) -> str:
    """SHA-256 of images and labels."""
    return hashlib.sha256(f"{_hash(images)} {_hash(labels)}".encode()).hexdigest()


def _tuples(value: Any) -> Any:
    """Convert lists from JSON back to tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def hash_of_weights(model: nn.Module) -> str:
    """SHA-256 of all parameters and buffers, by name, type and shape."""
    found = hashlib.sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found.update(f"{name} {_hash(tensor)}".encode())
    return found.hexdigest()


def _hash(tensor: Tensor) -> str:
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(content.tobytes()).hexdigest()}"
