"""A saved model's files, and names of models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub.utils import HFValidationError, validate_repo_id

from egat_hub.core.config import from_dict
from egat_hub.core.files import read_json_object
from egat_hub.hub.eval_results import EVAL_RESULTS
from egat_hub.hub.weights import CONFIG, WEIGHTS


def model_name(architecture: str, metadata: Mapping[str, Any]) -> str:
    """The model's name in timm's fashion, ``"resnet50.egat_vlcs"``."""
    parts = [str(metadata[key]).rpartition("/")[2] for key in ("method", "dataset") if metadata.get(key)]
    tag = re.sub(r"\W", "_", "_".join(parts), flags=re.ASCII)
    return f"{architecture}.{tag}" if tag else architecture


class ModelId(NamedTuple):
    """A model on the Hub: ``organisation/name``, and a branch, tag or commit of it (None: ``main``)."""

    repo_id: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"

    @classmethod
    def parse(cls, text: str) -> ModelId:
        """Read ``"organisation/name"`` or ``"organisation/name@revision"``.

        Raises:
            ValueError: something else.
        """
        repo_id, at, revision = text.partition("@")
        if repo_id.count("/") != 1 or not _is_repo_id(repo_id) or (at and not _is_revision(revision)):
            raise ValueError(
                "Expected a model of the Hub as organisation/name or organisation/name@revision, got "
                f"{text!r}."
            )
        return cls(repo_id, revision or None)


def _is_repo_id(text: str) -> bool:
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def _is_revision(text: str) -> bool:
    """Git's names of branches and tags, less those that could leave a folder when used as a path."""
    return re.fullmatch(r"[A-Za-z0-9_][\w./+-]*", text) is not None and ".." not in text and "//" not in text


CARDS = Path(__file__).parent / "model_cards"
"""The template of model cards, and a folder for every model that ships with the package."""

MANIFEST = "egat.json"
RESULTS = "results.json"
CARD = "README.md"
ENTRY = "zoo.json"

NEEDED = (CONFIG, WEIGHTS, MANIFEST)
"""What a model cannot be loaded without, and all that is ever fetched to load one."""


def is_figure(name: str) -> bool:
    """Whether a file name is one that figures are saved under."""
    return re.fullmatch(r"[A-Za-z0-9_-]+\.png", name) is not None


def is_ours(name: str) -> bool:
    """Whether a file or folder of that name may be in a folder that saving replaces."""
    return name in (*NEEDED, RESULTS, CARD, EVAL_RESULTS) or name.endswith(".png")


def model_folder(folder: Path) -> Path:
    """The folder of a model: ``model/`` in the folder of a run, or else ``folder`` itself."""
    inner = folder / "model"
    return inner if inner.is_dir() and not (folder / MANIFEST).exists() else folder


@dataclass(frozen=True, kw_only=True)
class Known:
    """The content of ``zoo.json``: what a known model's other files do not tell.

    Attributes:
        command: trains it again.
        repo_id: its repository on the Hub, ``"organisation/name"``; empty while its weights are not there.
        revision: the commit that is meant.
    """

    command: str
    repo_id: str = ""
    revision: str = ""

    @property
    def published(self) -> str:
        """Where its weights are on the Hub, ``"organisation/name@commit"``; empty if they are not."""
        return f"{self.repo_id}@{self.revision}" if self.repo_id else ""

    @classmethod
    def read(cls, folder: Path) -> Known:
        """Read the entry of the model in ``folder``.

        Raises:
            ValueError: something else; the message names the file.
        """
        try:
            return from_dict(cls, read_json_object(folder / ENTRY))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{folder / ENTRY} is no entry of the zoo: {str(error)[:500]}") from error

    def write(self, folder: Path) -> None:
        """Write the entry beside the model's other files."""
        (folder / ENTRY).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def known_models() -> dict[str, Path]:
    """The folder of every known model by its name; one without weights has its card and results only."""
    return {entry.parent.name: entry.parent for entry in sorted(CARDS.glob(f"*/{ENTRY}"))}


def without_weights(name: str) -> FileNotFoundError:
    """What is said about a known model whose weights are neither here nor on the Hub."""
    folder = known_models()[name]
    return FileNotFoundError(
        f"The weights of {name} are not published; its card and figures are in {folder / CARD}. Train it "
        f"with: {Known.read(folder).command}"
    )


def has_weights(folder: Path) -> bool:
    """Whether a known model's weights ship with the package."""
    return (folder / WEIGHTS).is_file()
