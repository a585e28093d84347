"""The models that this release knows by name: a folder each in ``egat_hub.model_cards``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from egat_hub.config import from_dict
from egat_hub.hub.layout import CARD, ENTRY
from egat_hub.json_file import read_json_object
from egat_hub.timm_folder import WEIGHTS


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
    cards = Path(str(files("egat_hub.model_cards")))
    return {entry.parent.name: entry.parent for entry in sorted(cards.glob(f"*/{ENTRY}"))}


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
