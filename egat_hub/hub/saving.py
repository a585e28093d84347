"""Save models as folders that timm, the Hugging Face Hub and this package read alike."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import nn

from egat_hub.core.files import atomic_folder
from egat_hub.core.results import Row, write_rows
from egat_hub.hub.classifier import Classifier, check_label_names
from egat_hub.hub.describing import describe
from egat_hub.hub.layout import MANIFEST, RESULTS, is_figure, is_ours, model_name
from egat_hub.hub.manifest import TOLERANCE, Fingerprint, Manifest
from egat_hub.hub.timm_folder import read_network, write_network
from egat_hub.hub.weights import CONFIG
from egat_hub.models import TimmModel
from egat_hub.models.modes import forget_biases

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESTORE_HINT = (
    "It was made with arguments that timm did not record; name them in metadata['model_args'], as "
    "timm.create_model takes them."
)


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    *,
    label_names: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    rows: Sequence[Row] = (),
    figures: Mapping[str, Figure] | None = None,
) -> None:
    """Write a model, its card and its figures into ``folder``, whole or not at all.

    The weights are stored in float32. Everything is written beside the folder first, loaded back and
    compared; only then does it take the folder's place.

    Args:
        model: a backbone, a classifier or a method, also as Accelerate prepared it; it is not changed.
        folder: where to; an earlier save there is replaced.
        label_names: one name a class, in the order of the logits; a classifier knows them.
        metadata: how the model came to be, of JSON types, beside what a classifier knows;
            :func:`egat_hub.hub.cards.render_card` lists the keys that the card knows. ``model_args`` holds
            what             ``timm.create_model`` needs and did not record.
        rows: what was measured of this model.
        figures: matplotlib figures by file name, without ending.

    Raises:
        ValueError: a model of another kind, label names that are missing or do not fit, metadata that is not
            JSON, logits or figures that are not finite, rows of another model, or a network that
            ``config.json`` cannot restore.
        FileExistsError: ``folder`` holds something else than a saved model.
        OSError: the folder cannot be written; an earlier save there is as it was.
    """
    network, known_names, known = _parts(model)
    metadata, figures = {**known, **(metadata or {})}, figures or {}
    label_names = label_names or known_names
    if label_names is None:
        raise ValueError("Expected label_names, one name a class; the network does not know them.")
    names = check_label_names(label_names, network.num_classes)
    _check_metadata(metadata)
    _check_figure_names(figures)
    forget_biases(network)
    network = copy.deepcopy(network).to("cpu", torch.float32).to(memory_format=torch.contiguous_format)
    fingerprint = Fingerprint.of(network)
    with atomic_folder(Path(folder).expanduser(), may_hold=is_ours) as partial:
        write_network(
            network,
            partial,
            label_names=names,
            model_args=metadata.get("model_args"),
            tag=model_name(network.architecture, metadata).partition(".")[2],
            license=_license(network, metadata),
        )
        _check_restored(partial, fingerprint)
        Manifest(names, fingerprint, metadata).write(partial / MANIFEST)
        write_rows(partial / RESULTS, rows)
        for name, figure in figures.items():
            figure.savefig(partial / f"{name}.png", dpi=150, bbox_inches="tight")
        for name, text in describe(partial).items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text(text, encoding="utf-8")


def _parts(model: nn.Module) -> tuple[TimmModel, Sequence[str] | None, Mapping[str, Any]]:
    """The network of a model, and the label names and metadata that it has."""
    model = extract_model_from_parallel(model)
    inner = getattr(model, "model", None)
    network = inner if isinstance(inner, TimmModel) else model
    if not isinstance(network, TimmModel):
        raise ValueError(
            f"Expected a TimmModel, a Classifier or a method, got {type(model).__name__}; wrap a network of "
            "timm in egat_hub.TimmModel."
        )
    return (
        (network, model.label_names, model.metadata) if isinstance(model, Classifier) else (network, None, {})
    )


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    try:
        json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected metadata of JSON types ({error}); pass configs through egat_hub.core.config.to_dict."
        ) from error


def _check_figure_names(names: Iterable[str]) -> None:
    wrong = [name for name in names if not is_figure(f"{name}.png")]
    if wrong:
        raise ValueError(
            f"Expected figure names of letters, digits, - and _, got {', '.join(map(repr, wrong))}."
        )


def _license(network: TimmModel, metadata: Mapping[str, Any]) -> str:
    """What the metadata says; else fine-tuned weights keep the licence of their source."""
    source = network.net.pretrained_cfg.get("license") if "base_model" in metadata else None
    return metadata.get("license") or source or "apache-2.0"


def _check_restored(folder: Path, fingerprint: Fingerprint) -> None:
    try:
        restored = fingerprint.deviation(TimmModel(read_network(folder))) <= TOLERANCE
    except ValueError as error:
        raise ValueError(f"The network cannot be restored from {CONFIG}. {RESTORE_HINT} ({error})") from error
    if not restored:
        raise ValueError(f"The network restored from {CONFIG} gives other logits. {RESTORE_HINT}")
