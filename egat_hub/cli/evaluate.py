"""``egat-hub evaluate``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from egat_hub.cli.images import open_model
from egat_hub.cli.main import Answer
from egat_hub.core.options import Flat, Without
from egat_hub.core.results import write_rows
from egat_hub.data import DataConfig
from egat_hub.evaluation import EvaluationConfig
from egat_hub.evaluation import evaluate as evaluate_model
from egat_hub.hub.card_tables import result_sections
from egat_hub.hub.datasets import evaluation_images


def evaluate(
    model: str,
    evaluation: EvaluationConfig,
    *,
    data: Annotated[DataConfig, Flat(), Without("image_size")] = DataConfig(),
    domain: str | None = None,
    split: Literal["train", "val", "test", "all"] = "test",
    images: int | None = None,
    epsilons: tuple[float, ...] = (),
    output: Path | None = None,
    workers: int = 0,
    device: str | None = None,
) -> Answer:
    """Measure accuracy, robustness and explanations of a model on a data set.

    Figures come as tables, each with its protocol. Images take the size that the model has; the data set must
    have the model's classes.

    example: egat-hub evaluate org/name --data vlcs --data-dir VLCS --epsilons 0.01 0.03

    Args:
        model: name in 'egat-hub list', folder of a saved model, or organisation/name on the Hub.
        evaluation: what is measured.
        data: the data set.
        domain: domain of the images; by default the one that the model was trained on, or the only one.
        split: part of the domain: train, val, test or all.
        images: draw that many images; by default all are used.
        epsilons: attack budgets in [0, 1], instead of those of --evaluation.epsilons.
        output: JSON file to write the rows to.
        workers: processes that load images.
        device: such as cpu or cuda:1; by default the accelerator that is found.
    """
    if images is not None and images < 1:
        raise ValueError(f"Expected at least 1 of the images, got {images}.")
    config = dataclasses.replace(evaluation, epsilons=epsilons) if epsilons else evaluation
    classifier = open_model(model, device)
    told = classifier.metadata
    view = evaluation_images(classifier, data, domain=domain, split=split)
    rows = evaluate_model(
        classifier,
        view if images is None else view.drawn(images, seed=config.seed),
        config,
        method=str(told.get("method", "")),
        train_domain=str(told.get("train_domain", "")),
        seed=int(told.get("seed", 0)),
        selection=str(told.get("selection", "")),
        workers=workers,
    )
    if output is not None:
        write_rows(output, rows)
    sections = result_sections(rows)
    text = "\n\n".join(f"{section.title}\n{section.note}\n\n{section.table}" for section in sections)
    return Answer(text=text, data=[dataclasses.asdict(row) for row in rows])
