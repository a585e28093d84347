"""``egat-hub evaluate``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tabulate import tabulate

from egat_hub.cli.images import open_model
from egat_hub.cli.main import Answer
from egat_hub.core.results import Row, failed_checks, write_rows
from egat_hub.data import DataChanges
from egat_hub.evaluation import EvaluationConfig
from egat_hub.evaluation import evaluate as evaluate_model
from egat_hub.hub.datasets import evaluation_images
from egat_hub.metrics import metric_of


def evaluate(
    model: str,
    evaluation: EvaluationConfig,
    *,
    data: DataChanges = DataChanges(),
    domain: str | None = None,
    split: Literal["train", "val", "test", "all"] = "test",
    images: int | None = None,
    epsilons: tuple[float, ...] = (),
    output: Path | None = None,
    workers: int = 0,
    device: str | None = None,
) -> Answer:
    """Measure accuracy, robustness and explanations of a model on a data set.

    Prints a summary; --output and --json have every result with its protocol. The data set and its settings
    are those of the model's training, unless you give others.

    example: egat-hub evaluate org/name --data vlcs --data.dir VLCS --epsilons 2/255 4/255

    Args:
        model: name in 'egat-hub list', folder of a saved model, or organization/name on the Hub.
        evaluation: what is measured.
        data: the data set.
        domain: domain of the images; by default the one that the model was trained on, or the only one.
        split: part of the domain: train, val, test or all.
        images: draw that many images; by default all are used.
        epsilons: attack budgets in [0, 1], instead of those of --evaluation.epsilons.
        output: JSON file to write the results to.
        workers: processes that load images.
        device: such as cpu or cuda:1; by default the accelerator that is found.
    """
    if images is not None and images < 1:
        raise ValueError(f"Expected --images of at least 1, got {images}.")
    if output is not None and not output.expanduser().absolute().parent.is_dir():
        raise FileNotFoundError(f"Expected an existing folder for --output, found none at {output.parent}.")
    config = dataclasses.replace(evaluation, epsilons=epsilons) if epsilons else evaluation
    classifier = open_model(model, device)
    metadata = classifier.metadata
    view = evaluation_images(classifier, data, domain=domain, split=split)
    rows = evaluate_model(
        classifier,
        view if images is None else view.drawn(images, seed=config.seed),
        config,
        method=str(metadata.get("method", "")),
        train_domain=str(metadata.get("train_domain", "")),
        seed=int(metadata.get("seed", 0)),
        selection=str(metadata.get("selection", "")),
        workers=workers,
    )
    if output is not None:
        write_rows(output, rows)
    rest = f"All results with their protocols: {output}" if output else "--json prints all results."
    return Answer(
        text=f"{model} on {rows[0].n} {split} images of {view.domain.dataset}/{view.domain.name}\n\n"
        f"{summary(rows)}\n\n{rest}",
        data=[dataclasses.asdict(row) for row in rows],
    )


def summary(rows: Sequence[Row]) -> str:
    """Metrics of tables and leaderboards with their values, and the sanity checks that failed."""
    lines = []
    for row in rows:
        metric, protocol = metric_of(row.metric), row.protocol
        if not (metric.table or metric.headline) or not metric.shows(protocol):
            continue
        values = [row.value]
        if metric.control:
            key = row.metric, {**protocol, **metric.control}
            values += [other.value for other in rows if (other.metric, other.protocol) == key]
        epsilon = f"{protocol['epsilon']:.4g}" if "epsilon" in protocol else ""
        shown = (f"{value:.{metric.digits}f}" for value in values)
        lines.append((metric.title, protocol.get("attack", ""), epsilon, *shown))
    headers = ("metric", "attack", "epsilon", "value", "control map")
    table = tabulate(lines, headers, disable_numparse=True, colalign=("left", "left", *["right"] * 3))
    failed = [
        f"{row.protocol['check']} ({row.value:.1f}, limit {row.protocol['limit']:g})"
        for row in failed_checks(rows)
    ]
    return f"{table}\n\nFailed sanity checks: {', '.join(failed) or 'none'}"
