"""Take what a release keeps of a trained model: card, results and how it came to be."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from egat_hub.experiments.cell import MODEL
from egat_hub.experiments.training_command import check_training_command
from egat_hub.hub.describing import describe
from egat_hub.hub.known import Known
from egat_hub.hub.layout import ENTRY, MANIFEST, RESULTS, is_figure, is_ours
from egat_hub.hub.loading import load_folder
from egat_hub.hub.results_file import read_results
from egat_hub.manifest import Manifest
from egat_hub.timm_folder import CONFIG, WEIGHTS
from egat_hub.whole_folder import whole_folder

SYNTHETIC = "synthetic"
"""The data set whose images may be shown; figures of models of other data sets stay behind."""


def keep_model(
    run: Path, folder: Path, *, command: str, repo_id: str = "", revision: str = "", weights: bool = False
) -> None:
    """Make ``model_cards/<name>`` of a finished run; an earlier one there is replaced.

    The model is loaded and compared with its fingerprint first, and the command is checked to train it. The
    name of the folder is the one by which a release knows the model. Its card and results are those of this
    one run, with its seed; tables over seeds belong into ``docs/results``.

    Args:
        run: folder of the run, or of the saved model itself.
        folder: the folder to make.
        command: trains the model again, ``accelerate launch recipes/...``.
        repo_id: where its weights are published, ``"organisation/name"``.
        revision: the commit there.
        weights: keep the weights too, so that they ship with the package.

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
    if not read_results(place / RESULTS):
        raise ValueError(f"{place} has no results; let its run finish.")
    metadata = Manifest.read(place / MANIFEST).metadata
    check_training_command(command, metadata)
    shown = metadata["dataset"] == SYNTHETIC
    kept = [CONFIG, MANIFEST, RESULTS, *([WEIGHTS] if weights else [])]
    kept += [path.name for path in place.iterdir() if shown and is_figure(path.name)]
    with whole_folder(folder, may_hold=lambda name: is_ours(name) or name == ENTRY) as partial:
        for name in kept:
            shutil.copyfile(place / name, partial / name)
        Known(command=command, repo_id=repo_id, revision=revision).write(partial)
        for name, text in describe(partial, name=folder.name).items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text(text, encoding="utf-8")
