"""Save models as folders for timm, transformers and this package, and push them to the Hugging Face Hub."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import extract_model_from_parallel
from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi
from torch import nn

from egat_hub.core.files import atomic_folder
from egat_hub.core.results import Row, write_rows
from egat_hub.hub import layout
from egat_hub.hub.cards import card_text
from egat_hub.hub.classifier import Classifier
from egat_hub.hub.loading import load_folder
from egat_hub.hub.manifest import TOLERANCE, Fingerprint, Manifest
from egat_hub.hub.prediction import check_label_names
from egat_hub.hub.remote import check_repo_id, hub_errors
from egat_hub.hub.timm_files import read_network, write_network
from egat_hub.models import TimmModel, unwrap
from egat_hub.models.train_mode import forget_biases

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNRELATED = {".gitattributes", ".gitignore", "LICENSE", layout.CARD}
"""Files of a repository that do not stop a model from being pushed to it."""

RESTORE_HINT = (
    "It was made with arguments that timm did not record; pass them in metadata['model_args'], as "
    "timm.create_model takes them."
)


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    *,
    label_names: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    rows: Sequence[Row] | None = None,
    figures: Mapping[str, Figure] | None = None,
) -> None:
    """Save a model, its results, card and figures in ``folder``, atomically and in float32.

    The files are loaded again and their logits compared before they replace an earlier save.

    Args:
        model: a Classifier, a method, a TimmModel or a timm network, also prepared by Accelerate or compiled;
            it is not changed.
        folder: folder to write to.
        label_names: one name per class, in the order of the logits; default: those of a Classifier.
        metadata: how the model was made, of JSON types, added to a Classifier's own;
            :func:`egat_hub.hub.cards.render_card` lists the keys that the card uses. ``model_args`` holds
            arguments of ``timm.create_model`` that timm did not record.
        rows: results of this model; default: those that a Classifier was loaded with, unless it changed.
        figures: matplotlib figures by file name, without suffix.

    Raises:
        ValueError: label names or results that do not fit the model, metadata that is not JSON, values that
            are not finite, or a network that ``config.json`` cannot restore.
        FileExistsError: ``folder`` holds something else than a saved model.
    """
    model = extract_model_from_parallel(model, keep_torch_compile=False)
    network, figures = unwrap(model), figures or {}
    if not isinstance(network, TimmModel):
        raise ValueError(
            f"Expected a Classifier, a method, a TimmModel or a timm network, got {type(model).__name__}."
        )
    if isinstance(model, Classifier):
        label_names, metadata = label_names or model.label_names, {**model.metadata, **(metadata or {})}
    metadata = metadata or {}
    if label_names is None:
        raise ValueError("Expected label_names, one name per class.")
    names = check_label_names(label_names, network.num_classes)
    _check_metadata(metadata)
    wrong = [name for name in figures if not layout.is_figure(f"{name}.png")]
    if wrong:
        raise ValueError(f"Expected figure names of letters, digits, - and _, got {wrong}.")
    forget_biases(network.modules())
    net = copy.deepcopy(network.net).to("cpu", torch.float32).to(memory_format=torch.contiguous_format)
    network = TimmModel(net, image_size=network.image_size)  # takes mean and std from the config, unrounded
    fingerprint = Fingerprint.of(network)
    source_license = net.pretrained_cfg.get("license") if "base_model" in metadata else None
    if rows is None:
        rows = _rows_of(model, network)
    with atomic_folder(Path(folder).expanduser(), may_hold=layout.is_replaceable) as partial:
        write_network(
            network,
            partial,
            label_names=names,
            model_args=metadata.get("model_args"),
            tag=layout.model_name(network.architecture, metadata).partition(".")[2],
            license=metadata.get("license") or source_license or "apache-2.0",
        )
        _check_restored(partial, fingerprint)
        Manifest(names, fingerprint, metadata).write(partial / layout.MANIFEST)
        write_rows(partial / layout.RESULTS, rows)
        for name, figure in figures.items():
            figure.savefig(partial / f"{name}.png", dpi=150, bbox_inches="tight")
        (partial / layout.CARD).write_text(card_text(partial), encoding="utf-8")


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | bool | None = None,
) -> CommitInfo:
    """Push a saved model to the Hub in one commit; files that the Hub has already are not sent.

    The model is loaded and checked first, and its card is written anew from its own files.

    Args:
        folder: folder of a saved model, or of a run that holds one.
        repo_id: ``"org/name"``, created if it is missing.
        revision: branch to commit to, created if it is missing; default: ``main``.
        private: whether a new repository is private; default: the setting of the organization.
        create_pr: open a pull request instead of committing.
        commit_message: first line of the commit.
        token: as for :func:`egat_hub.from_pretrained`; it needs write access.

    Raises:
        ValueError: the folder's files do not fit each other.
        FileExistsError: the repository holds something else than a model of this package.
        PermissionError: no token, an invalid one, or one without write access.
        ConnectionError: the Hub cannot be reached or failed; push again, nothing is sent twice.
    """
    folder = layout.model_folder(Path(folder).expanduser())
    load_folder(folder)
    figures = sorted(entry.name for entry in folder.iterdir() if layout.is_figure(entry.name))
    files = (*layout.NEEDED, layout.RESULTS, *figures)
    sent = [CommitOperationAdd(name, folder / name) for name in files if (folder / name).is_file()]
    sent.append(CommitOperationAdd(layout.CARD, card_text(folder, repo_id=repo_id).encode()))
    check_repo_id(repo_id)
    api = HfApi(token=token, library_name="egat_hub")
    with hub_errors("Cannot push to", repo_id):
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        present = set(api.list_repo_files(repo_id, revision=revision))
    foreign = sorted(present - UNRELATED)
    if foreign and layout.MANIFEST not in present and not create_pr:
        raise FileExistsError(
            f"{repo_id} holds something else than a model of egat_hub ({', '.join(foreign[:3])}). Choose "
            "another name, or propose the model with create_pr=True."
        )
    summary = f"{'Update' if layout.MANIFEST in present else 'Add'} {repo_id.partition('/')[2]}"
    with hub_errors("Cannot push to", repo_id):
        return api.create_commit(
            repo_id, sent, commit_message=commit_message or summary, revision=revision, create_pr=create_pr
        )


def _rows_of(model: nn.Module, network: TimmModel) -> Sequence[Row]:
    """Results that a Classifier was loaded with, if its network still computes the same."""
    if not isinstance(model, Classifier) or model.fingerprint is None:
        return ()
    return model.rows if model.fingerprint.deviation(network) <= TOLERANCE else ()


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected metadata of JSON types ({error}); convert configs with egat_hub.core.config.to_dict."
        ) from error


def _check_restored(folder: Path, fingerprint: Fingerprint) -> None:
    try:
        restored = fingerprint.deviation(TimmModel(read_network(folder)[0])) <= TOLERANCE
    except ValueError as error:
        reason = f"The network cannot be restored from {layout.CONFIG}. {RESTORE_HINT} ({error})"
        raise ValueError(reason) from error
    if not restored:
        raise ValueError(f"The network restored from {layout.CONFIG} returns other logits. {RESTORE_HINT}")
