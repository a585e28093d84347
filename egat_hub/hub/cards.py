"""Model cards and evaluation results, written from the files of a saved model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined
from timm.models import is_model_pretrained

from egat_hub.core.results import Row
from egat_hub.hub.card_tables import protocol_text, result_sections, settings_table
from egat_hub.hub.eval_results import eval_result_files
from egat_hub.hub.layout import (
    CARD,
    CARDS,
    CONFIG,
    ENTRY,
    MANIFEST,
    RESULTS,
    WEIGHTS,
    ZooEntry,
    is_figure,
    model_name,
    read_results,
)
from egat_hub.hub.manifest import Manifest
from egat_hub.hub.timm_files import NetworkConfig
from egat_hub.hub.zoo import TAG
from egat_hub.metrics import metric_of


def card_header(
    rows: Sequence[Row], metadata: Mapping[str, Any], *, name: str, license: str
) -> ModelCardData:
    """The header of a card; its ``model-index`` has headline figures, ``results.json`` has all.

    Args:
        rows: what was measured.
        metadata: as for :func:`egat_hub.hub.cards.render_card`.
        name: of the model.
        license: of the weights.
    """
    told = [str(metadata.get(key, "")) for key in ("dataset_id", "dataset")]
    return ModelCardData(
        model_name=name,
        library_name="timm",
        pipeline_tag="image-classification",
        license=license,
        tags=_tags(rows, metadata),
        datasets=[dataset for dataset in told if "/" in dataset][:1] or None,
        base_model=_base_model(str(metadata.get("base_model") or "")),
        metrics=["accuracy"] if any(_metric_type(row) == "accuracy" for row in rows) else None,
        eval_results=[_eval_result(row) for row in rows if is_headline(row)] or None,
    )


def _base_model(name: str) -> str | None:
    """What the Hub links to: a repository there, as weights of timm's are; a model in a folder is none."""
    if "/" in name:
        return name.partition("@")[0]
    return f"timm/{name}" if is_model_pretrained(name) else None


def _tags(rows: Sequence[Row], metadata: Mapping[str, Any]) -> list[str]:
    """Only what holds of this model: a model that was never attacked does not count as robust."""
    attacked = any("epsilon" in row.protocol for row in rows)
    explained = any("explanation" in row.protocol for row in rows)
    told = [str(metadata[key]) for key in ("method", "dataset") if metadata.get(key)]
    tags = [TAG, "timm", *told]
    tags += ["adversarial-robustness"] if attacked else []
    tags += ["explainability"] if explained else []
    return list(dict.fromkeys(tags))


def is_headline(row: Row) -> bool:
    """Whether a figure is in the ``model-index``; controls and parts are in the card alone."""
    metric = metric_of(row.metric)
    return metric.headline and metric.shows(row.protocol)


def _eval_result(row: Row) -> EvalResult:
    """Results of equal data set, config and split are merged by the Hub, so the protocol is in the config."""
    domains = f"{row.train_domain} -> {row.test_domain}"
    protocol = protocol_text(row.protocol)
    return EvalResult(
        task_type="image-classification",
        dataset_type=row.dataset,
        dataset_name=f"{row.dataset}, {domains}",
        dataset_config=f"{domains}; {protocol}" if protocol else domains,
        dataset_split=row.split,
        metric_type=_metric_type(row),
        metric_name=row.metric,
        metric_value=round(row.value, 4),
        metric_args={**row.protocol, "n": row.n, "seed": row.seed},
    )


def _metric_type(row: Row) -> str:
    return metric_of(row.metric).hub_type or row.metric


PLACES = {"method", "dataset", "dataset_id", "base_model", "config", "versions", "license", "model_args"}
"""Keys of the metadata that have a place of their own in the card."""


def render_card(
    *,
    rows: Sequence[Row],
    metadata: Mapping[str, Any],
    label_names: Sequence[str],
    architecture: str,
    image_size: int,
    license: str = "apache-2.0",
    figures: Sequence[str] = (),
    repo_id: str | None = None,
    known_as: str = "",
    command: str = "",
    loads: bool = True,
) -> str:
    """A model card for the Hugging Face Hub, as Markdown with a YAML header.

    Only figures that are in ``rows`` appear; without rows the card says that nothing was measured. Accuracies
    among the metadata, such as that of the validation images that chose the weights, are left out.

    Args:
        rows: what was measured, of one model and one method.
        metadata: how the model came to be. These keys have a place of their own, all others are listed with
            the training recipe: ``method``, ``dataset`` (names), ``dataset_id`` (of the data set on the Hub),
            ``base_model`` (timm's name of the pretrained weights, ``"resnet50.a1_in1k"``, or the model of the
            Hub, ``"organisation/name@revision"``, or the name of a saved one), ``config`` (the
            method's configuration, nested), ``versions`` (package to version), ``license``.
        label_names: one name a class.
        architecture: timm's name of the network.
        image_size: side of the images in pixels.
        license: of the weights.
        figures: file names of figures beside the card.
        repo_id: where the model is published, ``"organisation/name"``; by default it is a folder.
        known_as: the name by which this release knows the model.
        command: trains the model again.
        loads: whether the weights of a known model ship with this release or are published.

    Raises:
        ValueError: rows of more than one model or method, of another network or data set than the model's,
            or with a figure that is not finite.
    """
    _check_rows(rows, metadata, architecture)
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = (CARDS / "template.md").read_text(encoding="utf-8")
    name, title = model_name(architecture, metadata), known_as or model_name(architecture, metadata)
    named = loads and bool(known_as)
    folder = f"path/to/{name}" if loads else "path/to/model"
    recipe = {key: value for key, value in metadata.items() if key not in PLACES and not _is_figure(key)}
    return environment.from_string(template).render(
        header=card_header(rows, metadata, name=title, license=license).to_yaml(),
        name=title,
        place=(known_as if loads else "") or repo_id or folder,
        timm_place=name if named else f"hf-hub:{repo_id}" if repo_id else f"local-dir:{folder}",
        named=named,
        loads=loads,
        command=command,
        architecture=architecture,
        image_size=image_size,
        label_names=label_names,
        license=license,
        method=metadata.get("method"),
        dataset=metadata.get("dataset"),
        dataset_id=metadata.get("dataset_id"),
        base_model=metadata.get("base_model"),
        attacked=any("epsilon" in row.protocol for row in rows),
        linf=all(row.protocol.get("norm", "linf") == "linf" for row in rows),
        sections=result_sections(rows),
        figures=figures,
        recipe=_table(recipe),
        config=_table(metadata.get("config", {})),
        versions=_table(metadata.get("versions", {})),
    )


def card_files(folder: Path, *, repo_id: str | None = None, name: str = "") -> dict[str, str]:
    """Card and evaluation results of the model in a folder by path, from the model's own files alone.

    Args:
        folder: folder of a saved model, or of one that ships with the package.
        repo_id: where it is published, for the card's instructions.
        name: name of a model that ships with the package; default: that of the folder.

    Raises:
        ValueError: a file is malformed, or the results are those of another model.
    """
    config, manifest = NetworkConfig.read(folder / CONFIG), Manifest.read(folder / MANIFEST)
    rows, place = read_results(folder / RESULTS), dict[str, Any](repo_id=repo_id)
    if (folder / ENTRY).is_file():
        entry = ZooEntry.read(folder)
        place = {
            "known_as": name or folder.name,
            "repo_id": entry.repo_id or None,
            "command": entry.command,
            "loads": (folder / WEIGHTS).is_file() or bool(entry.repo_id),
        }
    card = render_card(
        rows=rows,
        metadata=manifest.metadata,
        label_names=manifest.label_names,
        architecture=config.architecture,
        image_size=manifest.fingerprint.image_size,
        license=config.pretrained_cfg.get("license") or "apache-2.0",
        figures=sorted(entry.name for entry in folder.iterdir() if is_figure(entry.name)),
        **place,
    )
    return {CARD: card, **eval_result_files(rows, manifest.metadata)}


def _check_rows(rows: Sequence[Row], metadata: Mapping[str, Any], architecture: str) -> None:
    made_by = sorted({(row.model, row.method) for row in rows})
    if len(made_by) > 1:
        found = ", ".join(f"{model} by {method}" for model, method in made_by)
        raise ValueError(f"Expected rows of one model, got {found}; give every model its own card.")
    for row in rows:
        expected = {"model": architecture, "dataset": metadata.get("dataset")}
        for name, value in expected.items():
            found = getattr(row, name)
            if value and found and value != found:
                raise ValueError(
                    f"Expected figures of {value!r}, got a row of the {name} {found!r}: a card states what "
                    "was measured of its own model only."
                )
        if not math.isfinite(row.value):
            raise ValueError(f"Expected figures, got {row.metric} = {row.value}; leave that row out.")


def _is_figure(key: str) -> bool:
    return "accuracy" in key.lower()


def _table(settings: Mapping[str, Any]) -> str:
    return settings_table(settings) if settings else ""
