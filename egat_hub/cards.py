"""The model card: what a model is, what was measured, under which protocol, and how to load it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from egat_hub.card_header import card_header
from egat_hub.card_tables import result_sections, settings_table
from egat_hub.model_name import model_name
from egat_hub.results import Row

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
    template = files("egat_hub.model_cards").joinpath("template.md").read_text(encoding="utf-8")
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
        attacked=any(row.metric == "aAcc" and "epsilon" in row.protocol for row in rows),
        linf=all(row.protocol.get("norm", "linf") == "linf" for row in rows),
        sections=result_sections(rows),
        figures=figures,
        recipe=_table(recipe),
        config=_table(metadata.get("config", {})),
        versions=_table(metadata.get("versions", {})),
    )


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
