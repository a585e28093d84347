"""The models that this release knows by name, as lists and leaderboards know them."""

from __future__ import annotations

from pathlib import Path

from egat_hub.hub.known import Known, has_weights, known_models
from egat_hub.hub.layout import MANIFEST, RESULTS
from egat_hub.hub.results_file import read_results
from egat_hub.json_file import read_json_object
from egat_hub.timm_folder import CONFIG, WEIGHTS
from egat_hub.zoo.model import ZooModel


def shipped() -> list[ZooModel]:
    """The models of the folders in ``egat_hub.model_cards``, by name. Their files are trusted."""
    return [_read(name, folder) for name, folder in known_models().items()]


def _read(name: str, folder: Path) -> ZooModel:
    entry, config = Known.read(folder), read_json_object(folder / CONFIG)
    return ZooModel(
        known_as=name,
        repo_id=entry.repo_id,
        revision=entry.revision,
        architecture=config["architecture"],
        num_classes=config["num_classes"],
        model_args=config.get("model_args", {}),
        pretrained_cfg={**config["pretrained_cfg"], "label_names": config["label_names"]},
        metadata=read_json_object(folder / MANIFEST)["metadata"],
        rows=tuple(read_results(folder / RESULTS)),
        weights=folder / WEIGHTS if has_weights(folder) else None,
    )
