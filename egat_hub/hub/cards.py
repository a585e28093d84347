"""Model cards, written from the files of a saved model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined
from timm.models import is_model_pretrained

from egat_hub.core.results import Row
from egat_hub.hub import layout
from egat_hub.hub.manifest import Manifest
from egat_hub.hub.tables import protocol_text, result_sections, settings_table, summary_table
from egat_hub.hub.timm_files import NetworkConfig
from egat_hub.hub.zoo import TAG
from egat_hub.metrics import metric_of

TEMPLATE = layout.CARDS / "template.md"


def _header(rows: Sequence[Row], metadata: Mapping[str, Any], name: str, license: str) -> ModelCardData:
    """The YAML header of a card, with the headline results as ``model-index``."""
    datasets = [str(metadata.get(key, "")) for key in ("dataset_id", "dataset")]
    return ModelCardData(
        model_name=name,
        library_name="timm",
        pipeline_tag="image-classification",
        license=license,
        tags=_tags(rows, metadata),
        datasets=[dataset for dataset in datasets if "/" in dataset][:1] or None,
        base_model=_base_model(str(metadata.get("base_model") or "")),
        metrics=["accuracy"] if any(_metric_type(row) == "accuracy" for row in rows) else None,
        eval_results=[_eval_result(row) for row in rows if is_headline(row)] or None,
    )


def _base_model(name: str) -> str | None:
    """Repository on the Hub of the weights that training started from; None if they are in a folder."""
    if "/" in name:
        return name.partition("@")[0]
    return f"timm/{name}" if is_model_pretrained(name) else None


def _tags(rows: Sequence[Row], metadata: Mapping[str, Any]) -> list[str]:
    """Tags that hold of this model: one that was never attacked is not tagged as robust."""
    tags = [TAG, "timm", *(str(metadata[key]) for key in ("method", "dataset") if metadata.get(key))]
    for setting, tag in (("epsilon", "adversarial-robustness"), ("explanation", "explainability")):
        tags += [tag] if any(setting in row.protocol for row in rows) else []
    return list(dict.fromkeys(tags))


def is_headline(row: Row) -> bool:
    """Whether a result is in the ``model-index``; controls are in the card only."""
    metric = metric_of(row.metric)
    return metric.headline and metric.shows(row.protocol)


def _eval_result(row: Row) -> EvalResult:
    """A result for the Hub, which merges those of equal data set, config and split."""
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
"""Keys of the metadata that the card shows elsewhere than in its table of training settings."""


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
    cropped: bool = False,
    shipped_as: str = "",
    command: str = "",
    has_weights: bool = True,
) -> str:
    """Write a model card for the Hugging Face Hub, Markdown with a YAML header.

    Args:
        rows: results of one model; accuracies among the metadata are left out.
        metadata: how the model was made: ``method``, ``dataset``, ``dataset_id`` (on the Hub), ``base_model``
            (timm's name of the pretrained weights, a repository on the Hub, or the name of a saved model),
            ``config`` (of the method), ``versions``, ``license``; other keys are listed as training settings.
        figures: file names of figures beside the card; the first is shown on top.
        shipped_as: name of a model that ships with the package, trained by ``command``.
        has_weights: whether the weights ship with the package or are published.

    Raises:
        ValueError: results of several models, of another network or data set, or not finite.
    """
    _check_rows(rows, metadata, architecture)
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = TEMPLATE.read_text(encoding="utf-8")
    name = layout.model_name(architecture, metadata)
    title, named = shipped_as or name, has_weights and bool(shipped_as)
    folder = f"path/to/{name}" if has_weights else "path/to/model"
    recipe = {k: v for k, v in metadata.items() if k not in PLACES and "accuracy" not in k.lower()}
    return environment.from_string(template).render(
        header=_header(rows, metadata, title, license).to_yaml(),
        name=title,
        place=(shipped_as if named else "") or repo_id or folder,
        timm_place=name if named else f"hf-hub:{repo_id}" if repo_id else f"local-dir:{folder}",
        named=named,
        loads=has_weights,
        command=command,
        architecture=architecture,
        image_size=image_size,
        cropped=cropped,
        label_names=label_names,
        license=license,
        **{key: metadata.get(key) for key in ("method", "dataset", "dataset_id", "base_model")},
        attacked=any("epsilon" in row.protocol for row in rows),
        linf=all(row.protocol.get("norm", "linf") == "linf" for row in rows),
        summary=summary_table([row for row in rows if is_headline(row)][:10]),
        sections=result_sections(rows),
        figures=figures,
        recipe=settings_table(recipe),
        config=settings_table(metadata.get("config", {})),
        versions=settings_table(metadata.get("versions", {})),
    )


def card_text(folder: Path, *, repo_id: str | None = None, name: str = "") -> str:
    """Write the card of the model in a folder from its own files alone.

    Args:
        folder: folder of a saved model, or of one that ships with the package.
        repo_id: repository on the Hub, for the card's instructions.
        name: name of a model that ships with the package; default: that of the folder.

    Raises:
        ValueError: a malformed file, or results of another model.
    """
    config, manifest = NetworkConfig.read(folder / layout.CONFIG), Manifest.read(folder / layout.MANIFEST)
    cfg, place = config.pretrained_cfg, dict[str, Any](repo_id=repo_id)
    if (folder / layout.ENTRY).is_file():
        entry = layout.ZooEntry.read(folder)
        place = {
            "shipped_as": name or folder.name,
            "repo_id": entry.repo_id or None,
            "command": entry.command,
            "has_weights": (folder / layout.WEIGHTS).is_file() or bool(entry.repo_id),
        }
    return render_card(
        rows=layout.read_results(folder / layout.RESULTS),
        metadata=manifest.metadata,
        label_names=manifest.label_names,
        architecture=config.architecture,
        image_size=manifest.fingerprint.image_size,
        license=cfg.get("license") or "apache-2.0",
        figures=sorted(entry.name for entry in folder.iterdir() if layout.is_figure(entry.name)),
        cropped=cfg.get("crop_mode") != "squash" or cfg.get("crop_pct") != 1,
        **place,
    )


def _check_rows(rows: Sequence[Row], metadata: Mapping[str, Any], architecture: str) -> None:
    made_by = sorted({f"{row.model} by {row.method}" for row in rows})
    if len(made_by) > 1:
        raise ValueError(
            f"Expected rows of one model, got {', '.join(made_by)}; give every model its own card."
        )
    for row in rows:
        for name, expected in (("model", architecture), ("dataset", metadata.get("dataset"))):
            found = getattr(row, name)
            if expected and found and expected != found:
                raise ValueError(
                    f"Expected results of {expected!r}, got a row of the {name} {found!r}: a card shows "
                    "results of its own model only."
                )
        if not math.isfinite(row.value):
            raise ValueError(f"Expected finite results, got {row.metric} = {row.value}; drop that row.")
