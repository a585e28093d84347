"""What became of a family, as a line of a file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a family.

    Attributes:
        family: timm's name of the module.
        model: the network that was tried.
        millions: its parameters, in millions.
        image_size: side of the images in pixels.
        grid: side of the map.
        head_form: how the logits come from the features.
        feature_layer: where the features are taken.
        result: ``works``, ``refused: ...`` or ``fails: ...``.
        timm: version of timm.
    """

    family: str
    model: str = ""
    millions: float = 0.0
    image_size: int = 0
    grid: int = 0
    head_form: str = ""
    feature_layer: str = ""
    result: str
    timm: str

    @property
    def kind(self) -> str:
        """``works``, ``refused`` or ``fails``."""
        return self.result.partition(":")[0]


def append_outcome(path: Path, outcome: Outcome) -> None:
    """Add a line; an unfinished one at the end, of a run that was killed, is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text() if path.is_file() else ""
    with path.open("a") as file:
        file.write("\n" if text and not text.endswith("\n") else "")
        file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")


def read_outcomes(path: Path, timm: str) -> dict[str, Outcome]:
    """The last outcome of every family with that version of timm; lines that cannot be read are left out."""
    found: dict[str, Outcome] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            outcome = Outcome(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if outcome.timm == timm:
            found[outcome.family] = outcome
    return found
