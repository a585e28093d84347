"""Batches of an evaluation that are measured already, so that a killed one goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from egat_hub.core.config import digest
from egat_hub.core.distributed import gather_objects
from egat_hub.core.files import atomic_write_text
from egat_hub.core.metric import Key
from egat_hub.data import EvaluationView
from egat_hub.evaluation.config import PROTOCOL


class Measured(NamedTuple):
    """A batch and its figures.

    Attributes:
        positions: where the images are in the data set.
        numbers: their stable numbers.
        columns: a value an image for every figure, NaN where it is not defined.
    """

    positions: Sequence[int]
    numbers: Sequence[int]
    columns: Mapping[Key, Sequence[float]]


@dataclass(frozen=True)
class Journal:
    """Measured batches in a folder, a small file each that is there whole or not at all.

    Every process writes the batches that it measured, and reads those of all, however many there were.

    Attributes:
        folder: of this evaluation alone; created when the first batch is written.
        key: digest of all that decides the figures.
    """

    folder: Path
    key: str

    @classmethod
    def of(cls, folder: Path, model: nn.Module, dataset: Any, settings: Mapping[str, Any]) -> Journal:
        """The journal of an evaluation; every process calls this.

        Args:
            folder: where batches are kept.
            model: decides by its weights.
            dataset: decides by its first and last item, and which images of a domain it has.
            settings: what else decides, of JSON types.
        """
        images = dataset.indices.tolist() if isinstance(dataset, EvaluationView) else len(dataset)
        items = [dataset[position] for position in (0, len(dataset) - 1)]
        shown = [_hash(item["image"] if isinstance(item, dict) else item[0]) for item in items]
        key = digest([PROTOCOL, settings, type(model).__name__, hash_of_weights(model), images, shown])
        return cls(folder, gather_objects(key)[0])

    def write(self, batch: Measured) -> None:
        """Keep a batch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "key": self.key,
            "positions": batch.positions,
            "numbers": batch.numbers,
            "columns": [[*column, values] for column, values in batch.columns.items()],
        }
        atomic_write_text(self.folder / f"batch_{batch.positions[0]:08d}.json", json.dumps(content) + "\n")

    def read(self) -> list[Measured]:
        """All batches; a file that cannot be read is left out, and its batch measured again.

        Raises:
            ValueError: a batch of another evaluation.
        """
        batches = []
        for path in sorted(self.folder.glob("batch_*.json")):
            try:
                content = json.loads(path.read_text())
            except ValueError:
                continue
            if content["key"] != self.key:
                raise ValueError(
                    f"{self.folder} holds batches of another evaluation: of other weights, images or "
                    "settings, or measured by another version. Name another folder, or remove it."
                )
            columns = {
                Key(metric, _tuples(protocol)): values for metric, protocol, values in content["columns"]
            }
            batches.append(Measured(content["positions"], content["numbers"], columns))
        return batches


def _tuples(value: Any) -> Any:
    """What JSON made lists of, as it was."""
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
