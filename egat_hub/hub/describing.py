"""The files of a model that follow from its other files: card and evaluation results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from egat_hub.cards import render_card
from egat_hub.eval_results import eval_result_files
from egat_hub.hub.known import Known, has_weights
from egat_hub.hub.layout import CARD, ENTRY, MANIFEST, RESULTS, is_figure
from egat_hub.hub.results_file import read_results
from egat_hub.manifest import Manifest
from egat_hub.timm_folder import CONFIG, NetworkConfig


def describe(folder: Path, *, repo_id: str | None = None, name: str = "") -> dict[str, str]:
    """Card and evaluation results of the model in a folder, by their path in it.

    They are made from the model's own files alone, so that no figure is stated that is not in
    ``results.json``.

    Args:
        folder: holds a saved model, or what a release keeps of a known one.
        repo_id: where it is published, for the card's instructions.
        name: of a known model; by default that of the folder.

    Raises:
        ValueError: a file is malformed, or the results are those of another model.
    """
    config, manifest = NetworkConfig.read(folder / CONFIG), Manifest.read(folder / MANIFEST)
    rows = read_results(folder / RESULTS) if (folder / RESULTS).is_file() else []
    card = render_card(
        rows=rows,
        metadata=manifest.metadata,
        label_names=manifest.label_names,
        architecture=config.architecture,
        image_size=manifest.fingerprint.image_size,
        license=config.pretrained_cfg.get("license") or "apache-2.0",
        figures=sorted(entry.name for entry in folder.iterdir() if is_figure(entry.name)),
        **(_of_known(folder, name) if (folder / ENTRY).is_file() else {"repo_id": repo_id}),
    )
    return {CARD: card, **eval_result_files(rows, manifest.metadata)}


def _of_known(folder: Path, name: str) -> dict[str, Any]:
    entry = Known.read(folder)
    return {
        "known_as": name or folder.name,
        "repo_id": entry.repo_id or None,
        "command": entry.command,
        "loads": has_weights(folder) or bool(entry.repo_id),
    }
