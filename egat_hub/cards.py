"""The model card: what a model is, what was measured, under which protocol, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined

from egat_hub.card_tables import protocol_text, result_sections, settings_table
from egat_hub.results import Row


def render_card(
    *,
    rows: Sequence[Row],
    metadata: Mapping[str, Any],
    label_names: Sequence[str],
    architecture: str,
    image_size: int,
    license: str = "apache-2.0",
    figures: Sequence[str] = (),
) -> str:
    """A model card for the Hugging Face Hub, as Markdown with a YAML header.

    Only figures that are in ``rows`` appear; without rows the card says that nothing was measured.

    Args:
        rows: what was measured, of one model and one method.
        metadata: how the model came to be. These keys have a place of their own, all others are listed with
            the training recipe: ``method``, ``dataset`` (names), ``base_model`` (timm's name of the
            pretrained weights, ``"resnet50.a1_in1k"``), ``config`` (the method's configuration, nested),
            ``versions`` (package to version), ``license``.
        label_names: one name a class.
        architecture: timm's name of the network.
        image_size: side of the images in pixels.
        license: of the weights.
        figures: file names of figures beside the card.

    Raises:
        ValueError: rows of more than one model or method.
    """
    made_by = sorted({(row.model, row.method) for row in rows})
    if len(made_by) > 1:
        found = ", ".join(f"{model} by {method}" for model, method in made_by)
        raise ValueError(f"Expected rows of one model, got {found}; give every model its own card.")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = files("egat_hub.model_cards").joinpath("template.md").read_text(encoding="utf-8")
    places = {"method", "dataset", "base_model", "config", "versions", "license"}
    return environment.from_string(template).render(
        header=_header(rows, metadata, architecture, license).to_yaml(),
        name=model_name(architecture, metadata),
        architecture=architecture,
        image_size=image_size,
        label_names=label_names,
        license=license,
        method=metadata.get("method"),
        dataset=metadata.get("dataset"),
        base_model=metadata.get("base_model"),
        attacked=any("epsilon" in row.protocol for row in rows),
        sections=result_sections(rows),
        figures=figures,
        recipe=_table({key: value for key, value in metadata.items() if key not in places}),
        config=_table(metadata.get("config", {})),
        versions=_table(metadata.get("versions", {})),
    )


def model_name(architecture: str, metadata: Mapping[str, Any]) -> str:
    """The model's name in timm's fashion, ``"resnet50.egat_vlcs"``."""
    tag = "_".join(str(metadata[key]) for key in ("method", "dataset") if metadata.get(key))
    return f"{architecture}.{tag}" if tag else architecture


def _header(
    rows: Sequence[Row], metadata: Mapping[str, Any], architecture: str, license: str
) -> ModelCardData:
    dataset, base_model = metadata.get("dataset"), metadata.get("base_model")
    tags = ["egat", "adversarial-robustness", "explanation-guided", "timm", *([dataset] if dataset else [])]
    accuracy = any(_metric_type(row) == "accuracy" for row in rows)
    return ModelCardData(
        model_name=model_name(architecture, metadata),
        library_name="timm",
        pipeline_tag="image-classification",
        license=license,
        tags=tags,
        datasets=[dataset] if dataset else None,
        base_model=f"timm/{base_model}" if base_model else None,
        metrics=["accuracy"] if accuracy else None,
        eval_results=[_eval_result(row) for row in rows] or None,
    )


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
    return "accuracy" if row.metric in ("cAcc", "aAcc") else row.metric.lower()


def _table(settings: Mapping[str, Any]) -> str:
    return settings_table(settings) if settings else ""
