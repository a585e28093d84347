"""Add the card and results of a finished run to the package's model cards, where it is found by name.

python recipes/model_card.py runs/pacs/<run> test_resnet.egat_pacs_photo \\
    --command "accelerate launch recipes/pacs.py --data.dir PACS --domains photo"

The command must train this model; it is parsed and compared with the run, not executed. Weights are added
only with --weights.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from egat_hub.core.config import from_dict, to_dict
from egat_hub.core.files import atomic_folder
from egat_hub.core.options import invoke, run_command
from egat_hub.data import DataConfig
from egat_hub.experiments import RunConfig, SweepOptions
from egat_hub.experiments.config import VARIANTS, over_domains_and_seeds, with_methods
from egat_hub.experiments.runner import MODEL, recorded
from egat_hub.hub import layout
from egat_hub.hub.cards import card_text
from egat_hub.hub.loading import load_folder
from egat_hub.hub.manifest import Manifest
from egat_hub.methods import METHODS
from egat_hub.models import ModelConfig
from egat_hub.training import TrainConfig

CARDS = Path(__file__).parents[1] / "model_cards"
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
    wanted = _of_metadata(metadata)
    options = invoke(SweepOptions, words[words.index(recipe) + 1 :], data=DataConfig(Path(recipe).stem))
    base = replace(options.run_config("erm", "", 0), data=options.data)
    methods = with_methods(base, options.methods, options.method_configs())
    runs = over_domains_and_seeds(methods, options.domains or (wanted["train_domain"],), options.seeds)
    trained = [_of_run(run) for run in runs]
    if wanted not in trained:
        closest = min(trained, key=lambda made: len(_differences(made, wanted)), default={})
        raise ValueError(
            f"{command!r} does not train this model. Closest: {'; '.join(_differences(closest, wanted))}."
        )


def _of_run(run: RunConfig) -> dict[str, Any]:
    data = recorded(replace(run.data, image_size=run.image_size))
    values = (run.label, run.domain, run.seed, to_dict(run.method_config), to_dict(run.model), data)
    return dict(zip(PARTS, (*values, to_dict(run.train)), strict=True))


def _of_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that decide, with defaults for fields that are newer than the model."""
    missing = [key for key in PARTS if key not in metadata]
    if missing:
        raise ValueError(
            f"The metadata of the model have no {', '.join(missing)}. Train it with this release."
        )
    name = metadata["method"]
    method = METHODS["egat" if name in VARIANTS else name].config_class
    data = recorded(from_dict(DataConfig, metadata["data"]))
    return {
        **{key: metadata[key] for key in PARTS},
        "config": to_dict(from_dict(method, metadata["config"])),
        "model": to_dict(from_dict(ModelConfig, metadata["model"])),
        "data": data,
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


SYNTHETIC = "synthetic"
"""The data set whose images may be published; figures that show others are left out."""


def add_model_card(
    run: Path, folder: Path, *, command: str, repo_id: str = "", revision: str = "", weights: bool = False
) -> None:
    """Make ``model_cards/<name>`` from a finished run, or replace it.

    The model is loaded and its fingerprint checked, and the command is checked to train this model. Card and
    results are those of this run alone.

    Args:
        run: folder of the run, or of the saved model itself.
        folder: folder to write; its name is the name of the model.
        command: trains the model again, ``accelerate launch recipes/...``.
        repo_id: where its weights are published, ``"organization/name"``.
        revision: the commit there.
        weights: add the weights, which then ship with the package.

    Raises:
        ValueError: a model without results, a command that does not train it, a repository without a
            revision, or a name that none can have.
        FileNotFoundError: no saved model is there.
        FileExistsError: ``folder`` holds something else.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", folder.name):
        raise ValueError(f"Expected a name of letters, digits, '.', '_' and '-', got {folder.name!r}.")
    if bool(repo_id) != (re.fullmatch(r"[0-9a-f]{40}", revision) is not None):
        raise ValueError(
            f"Expected a repository and the 40 digits of its commit, or neither, got {repo_id!r} and "
            f"{revision!r}."
        )
    place = run / MODEL if (run / MODEL).is_dir() else run
    load_folder(place)
    if not layout.read_results(place / layout.RESULTS):
        raise ValueError(f"{place} has no results; let its run finish.")
    metadata = Manifest.read(place / layout.MANIFEST).metadata
    check_training_command(command, metadata)
    shown = metadata["dataset"] == SYNTHETIC
    kept = [layout.CONFIG, layout.MANIFEST, layout.RESULTS, *([layout.WEIGHTS] if weights else [])]
    kept += [path.name for path in place.iterdir() if shown and layout.is_figure(path.name)]
    with atomic_folder(
        folder, may_hold=lambda name: layout.is_replaceable(name) or name == layout.ENTRY
    ) as partial:
        for name in kept:
            shutil.copyfile(place / name, partial / name)
        layout.ZooEntry(command=command, repo_id=repo_id, revision=revision).write(partial)
        (partial / layout.CARD).write_text(card_text(partial, name=folder.name), encoding="utf-8")


def model_card(
    run: Path,
    name: str,
    *,
    command: str,
    repo_id: str = "",
    revision: str = "",
    weights: bool = False,
) -> None:
    """Add the card and results of a finished run to the package's model cards.

    Args:
        run: folder of a finished run.
        name: name of the model.
        command: command that trains the model.
        repo_id: organization/name on the Hub, if published.
        revision: commit on the Hub.
        weights: ship the weights with the package.
    """
    folder = CARDS / name
    add_model_card(run, folder, command=command, repo_id=repo_id, revision=revision, weights=weights)
    print(folder)


if __name__ == "__main__":
    run_command(model_card, description=__doc__)
