"""Whether a command line trains a given model."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from egat_hub.config import from_dict, to_dict
from egat_hub.data import DataConfig
from egat_hub.engine import ModelConfig, TrainConfig
from egat_hub.experiments.cell import PLACES, Cell
from egat_hub.experiments.command import build_experiment, build_parser
from egat_hub.experiments.variants import VARIANTS
from egat_hub.methods import METHODS

LAUNCH = ["accelerate", "launch"]
PARTS = ("method", "train_domain", "seed", "config", "model", "data", "train")
"""Keys of a model's metadata that decide what it is."""


def check_training_command(command: str, metadata: Mapping[str, Any]) -> None:
    """Check that a command trains the model that the metadata tell of, among others perhaps.

    The command is read, and not run; where it does not name domains, any is taken to be among them.

    Args:
        command: ``accelerate launch [options] recipes/<benchmark>.py [options]``, as typed in the folder that
            holds the recipes.
        metadata: those of a model that an experiment saved.

    Raises:
        ValueError: another kind of command, or one that trains other models.
    """
    words = shlex.split(command)
    recipe = next((word for word in words if word.startswith("recipes/") and word.endswith(".py")), None)
    if words[:2] != LAUNCH or recipe is None:
        raise ValueError(f"Expected 'accelerate launch recipes/<benchmark>.py ...', got {command!r}.")
    parser = build_parser(Path(recipe).stem, "")
    options = parser.parse_args(words[words.index(recipe) + 1 :])
    experiment, wanted = build_experiment(parser, options), _of_metadata(metadata)
    domains = experiment.domains or (wanted["train_domain"],)
    trained = [_of_cell(cell) for cell in experiment.cells(domains)]
    if wanted not in trained:
        closest = min(trained, key=lambda made: len(_differences(made, wanted)), default={})
        raise ValueError(
            f"{command!r} does not train this model. Closest: {'; '.join(_differences(closest, wanted))}."
        )


def _of_cell(cell: Cell) -> dict[str, Any]:
    data = {key: value for key, value in to_dict(cell.data).items() if key not in PLACES}
    values = (cell.variant.name, cell.domain, cell.seed, to_dict(cell.variant.config))
    return dict(zip(PARTS, (*values, to_dict(cell.model), data, to_dict(cell.train)), strict=True))


def _of_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that decide, with the defaults of fields that are newer than the model."""
    missing = [key for key in PARTS if key not in metadata]
    if missing:
        raise ValueError(f"The model does not tell its {', '.join(missing)}; train it with this release.")
    name = metadata["method"]
    method = METHODS["egat" if name in VARIANTS else name].config_class
    data = to_dict(from_dict(DataConfig, metadata["data"]))
    return {
        **{key: metadata[key] for key in PARTS},
        "config": to_dict(from_dict(method, metadata["config"])),
        "model": to_dict(from_dict(ModelConfig, metadata["model"])),
        "data": {key: value for key, value in data.items() if key not in PLACES},
        "train": to_dict(from_dict(TrainConfig, metadata["train"])),
    }


def _differences(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    found = []
    for key in PARTS:
        mine, other = wanted[key], made.get(key)
        if isinstance(mine, dict) and isinstance(other, dict):
            names = [name for name in mine if mine[name] != other.get(name)]
            found += [f"{key}.{name} {other.get(name)!r}, not {mine[name]!r}" for name in names]
        elif mine != other:
            found.append(f"{key} {other!r}, not {mine!r}")
    return found
