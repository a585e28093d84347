"""A bench for one run, in a folder that its user names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState

from egat_hub.collective import rank
from egat_hub.config import digest
from egat_hub.data import MultiDomain
from egat_hub.experiments.cell import CONFIG, Bench, Cell, resolved
from egat_hub.whole_file import write_whole


class OneRun(Bench):
    """As :class:`Bench`, but ``output`` itself is the folder of the run."""

    def folder(self, cell: Cell) -> Path:
        return self.output


def check_folder(folder: Path, cell: Cell) -> None:
    """Refuse a folder that holds another run.

    Raises:
        FileExistsError: it holds one with other settings, or something else than a run.
    """
    if not folder.exists():
        return
    known = folder / CONFIG
    if not folder.is_dir() or (not known.is_file() and any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there and holds no run; name another --output.")
    if known.is_file() and not _same(json.loads(known.read_text()), cell.settings):
        raise FileExistsError(
            f"{folder} holds a run with other settings ({CONFIG} has them); name another --output, or remove "
            "the folder."
        )


def begin(folder: Path, cell: Cell) -> None:
    """Make the folder of a run and say in it what run it is."""
    if rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / CONFIG, json.dumps(cell.settings, indent=2) + "\n")
    PartialState().wait_for_everyone()


def train_domain(dataset: MultiDomain, name: str | None) -> str:
    """The domain to train on: the one that is named, or the only one.

    Raises:
        UnknownNameError: a domain that the data set does not have.
        ValueError: several, and none is named.
    """
    if name is None and len(dataset) > 1:
        raise ValueError(
            f"{dataset.name} has the domains {', '.join(dataset)}; name the --domain to train on. Accuracy "
            "on the others is measured."
        )
    return dataset[name or dataset.domains[0]].name


def _same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return digest(_located(first)) == digest(_located(second))


def _located(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {**settings, "data": resolved(settings["data"])}
