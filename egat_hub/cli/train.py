"""``egat-hub train``."""

from __future__ import annotations

import dataclasses

from egat_hub.cli.main import Answer
from egat_hub.experiments.finetuning import prepare
from egat_hub.experiments.options import TrainOptions
from egat_hub.experiments.tables.report import report
from egat_hub.hub.layout import CARD


def train(options: TrainOptions) -> Answer:
    """Train a network by one method on one domain; measure and save it.

    The run's folder gets model/, with weights, card and results. The same command resumes a run that was
    interrupted. 'egat-hub sweep' compares methods, domains and seeds.

    example: egat-hub train --model resnet50 --data.dir my_images --output runs/mine
    """
    results = prepare(options).run()
    card = f"All results with their protocols: {results.model / CARD}"
    tables = report(results.outcomes, epsilon=options.epsilon).markdown()
    return Answer(
        text=f"{tables}\n{card}\nModel: {results.model}",
        data={"model": str(results.model), "rows": [dataclasses.asdict(row) for row in results.rows]},
    )
