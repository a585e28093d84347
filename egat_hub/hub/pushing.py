"""Publish a model on the Hub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from egat_hub.core.results import Row
from egat_hub.hub.describing import describe
from egat_hub.hub.layout import NEEDED, RESULTS, ModelId, is_figure, model_folder
from egat_hub.hub.loading import load_folder
from egat_hub.hub.publishing import Contents, Push, PushOptions, publish
from egat_hub.hub.saving import save_pretrained

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def push_to_hub(
    model: nn.Module | str | os.PathLike[str],
    repo_id: str,
    *,
    label_names: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    rows: Sequence[Row] = (),
    figures: Mapping[str, Figure] | None = None,
    revision: str = "main",
    private: bool = False,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | bool | None = None,
    dry_run: bool = False,
) -> Push:
    """Publish a model: timm's files, ``egat.json``, ``results.json``, card and figures, in one commit.

    The card and the evaluation results are made anew from the model's own files, so that they follow its
    results. Files that the Hub has already are not sent; without any change there is no commit. A push that
    breaks off publishes nothing: what was sent ahead of the commit is seen by nobody. Weights are sent as
    safetensors only.

    Args:
        model: a backbone, a classifier or a method; or the folder of a saved model, or of a run that holds
            one in ``model/``. The model in a folder is loaded and checked first.
        repo_id: ``"organisation/name"``; a new repository is created.
        label_names: one name a class; by default those of a classifier.
        metadata: as for :func:`egat_hub.save_pretrained`; added to a classifier's own.
        rows: what was measured of this model.
        figures: matplotlib figures by file name, without ending.
        revision: the branch to commit to, created from ``main`` if it is missing.
        private: whether a new repository is private; of one that exists nothing changes.
        create_pr: open a pull request instead of committing to the branch.
        commit_message: first line of the commit.
        token: a token with write access, True for the one of this machine; by default that of this machine.
        dry_run: send nothing, say what would be sent.

    Returns:
        What was sent, file by file.

    Raises:
        ValueError: a folder without a sound model, label names that are missing or do not fit, results of
            another model, or a malformed name.
        FileExistsError: the repository holds something else than a model of this package.
        FileNotFoundError: no such folder.
        PermissionError: no token, an invalid one, or one without the right to write.
        ChangedMeanwhileError: others kept committing to the branch.
        CommitInDoubtError: the answer to the commit got lost; a second push finds out.
        ConnectionError: the Hub cannot be reached or failed.
        OSError: the Hub refused, or the disk is full.
    """
    target = ModelId.parse(f"{repo_id}@{revision}")
    options = PushOptions(
        private=private, create_pr=create_pr, commit_message=commit_message, token=token, dry_run=dry_run
    )
    if isinstance(model, nn.Module):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            save_pretrained(
                model, folder, label_names=label_names, metadata=metadata, rows=rows, figures=figures
            )
            return publish(target, _contents(folder, repo_id), options)
    if label_names or metadata or rows or figures:
        raise ValueError(
            "A folder brings its own label names, metadata, rows and figures; save the model anew to change "
            "them."
        )
    folder = model_folder(Path(model).expanduser())
    load_folder(folder)
    return publish(target, _contents(folder, repo_id), options)


def _contents(folder: Path, repo_id: str) -> Contents:
    names = [*NEEDED, RESULTS, *sorted(entry.name for entry in folder.iterdir() if is_figure(entry.name))]
    return {
        **{name: folder / name for name in names if (folder / name).is_file()},
        **{name: text.encode() for name, text in describe(folder, repo_id=repo_id).items()},
    }
