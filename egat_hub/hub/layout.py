"""Files of a saved model, and the models that ship with the package."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from egat_hub.core.config import from_dict
from egat_hub.core.files import read_json, read_json_object
from egat_hub.core.results import Row

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
MANIFEST = "egat.json"
RESULTS = "results.json"
CARD = "README.md"
ENTRY = "zoo.json"

NEEDED = (CONFIG, WEIGHTS, MANIFEST)
"""Files without which a model cannot be loaded."""

CARDS = Path(__file__).parents[1] / "model_cards"
"""The template of model cards, and a folder for every model that ships with the package."""


def model_name(architecture: str, metadata: Mapping[str, Any]) -> str:
    """Name of a model in timm's style: ``"resnet50.egat_vlcs"``."""
    parts = [str(metadata[key]).rpartition("/")[2] for key in ("method", "dataset") if metadata.get(key)]
    tag = re.sub(r"\W", "_", "_".join(parts), flags=re.ASCII)
    return f"{architecture}.{tag}" if tag else architecture


def is_figure(name: str) -> bool:
    """Whether a file name is one that figures are saved under."""
    return re.fullmatch(r"[A-Za-z0-9_-]+\.png", name) is not None


def is_replaceable(name: str) -> bool:
    """Whether a folder that holds this file may be replaced by a saved model."""
    return name in (*NEEDED, RESULTS, CARD) or name.endswith(".png")


def model_folder(folder: Path) -> Path:
    """``folder`` itself, or ``folder/model`` for the folder of a run."""
    inner = folder / "model"
    return inner if inner.is_dir() and not (folder / MANIFEST).exists() else folder


def read_results(path: Path) -> list[Row]:
    """Result rows of a model, which anyone may have written: bounded and checked; none without a file."""
    try:
        return [_row(item) for item in read_json(path)] if path.exists() else []
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} does not hold result rows as egat_hub writes them: {error!s:.500}"
        ) from error


def _row(item: Any) -> Row:
    row = from_dict(Row, item)
    if not isinstance(row.protocol, Mapping) or not all(_is_printable(text) for text in item.values()):
        raise ValueError("expected a protocol and texts of at most 200 printable characters")
    return row


def _is_printable(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= 200 and value.isprintable()
    items = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(_is_printable, items))


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """``zoo.json`` of a model that ships with the package: how to train it, and where its weights are."""

    command: str
    repo_id: str = ""
    revision: str = ""

    @classmethod
    def read(cls, folder: Path) -> ZooEntry:
        return from_dict(cls, read_json_object(folder / ENTRY))

    def write(self, folder: Path) -> None:
        (folder / ENTRY).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def shipped_models() -> dict[str, Path]:
    """Folders of the models that ship with the package by name; some hold card and results only."""
    return {entry.parent.name: entry.parent for entry in sorted(CARDS.glob(f"*/{ENTRY}"))}
