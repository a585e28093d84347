"""The YAML header of a model card: what the Hub shows, filters and links by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from timm.models import is_model_pretrained

from egat_hub.card_tables import protocol_text
from egat_hub.results import Row

TAG = "egat_hub"
"""Tag of every model that this package publishes, by which the Hub lists them."""


HEADLINES = ("cAcc", "aAcc", "mCA", "Comp", "Suff")
"""Metrics of the ``model-index``, which the Hub shows beside a model."""


def card_header(
    rows: Sequence[Row], metadata: Mapping[str, Any], *, name: str, license: str
) -> ModelCardData:
    """The header of a card; its ``model-index`` has headline figures, ``results.json`` has all.

    Args:
        rows: what was measured.
        metadata: as for :func:`egat_hub.cards.render_card`.
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
    attacked = any(row.metric == "aAcc" and "epsilon" in row.protocol for row in rows)
    explained = any("explanation" in row.protocol for row in rows)
    told = [str(metadata[key]) for key in ("method", "dataset") if metadata.get(key)]
    tags = [TAG, "timm", *told]
    tags += ["adversarial-robustness"] if attacked else []
    tags += ["explainability"] if explained else []
    return list(dict.fromkeys(tags))


def is_headline(row: Row) -> bool:
    """Whether a figure is in the ``model-index``; controls and parts are in the card alone."""
    return row.metric in HEADLINES and row.protocol.get("map", "model") == "model"


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
