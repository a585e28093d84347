"""``egat-hub train``."""

from __future__ import annotations

import dataclasses

from egat_hub.cli.evaluate import summary
from egat_hub.cli.main import Answer
from egat_hub.experiments.finetuning import prepare
from egat_hub.experiments.options import TrainOptions
from egat_hub.hub.layout import CARD


def train(options: TrainOptions) -> Answer:
    """Train a network by one method on one domain; measure and save it.

    The run's folder gets model/, with weights, card and results. The same command resumes a run that was
    interrupted. 'egat-hub sweep' compares methods, domains and seeds.

    example: egat-hub train --model resnet50 --data.dir my_images --output runs/mine
    """
    results = prepare(options).run()
    config = results.config
    own = [row for row in results.rows if row.test_domain == config.domain]
    others = [
        f"{row.test_domain} {row.value:.1f}" for row in results.rows if row.test_domain != config.domain
    ]
    elsewhere = f"Accuracy on other domains: {', '.join(others)}\n\n" if others else ""
    return Answer(
        text=f"{config.title}, {own[0].n} test images\n\n{summary(own)}\n\n{elsewhere}"
        f"Model: {results.model}\nAll results with their protocols: {results.model / CARD}\n"
        f"Next: egat-hub explain {results.model} IMAGE",
        data={"model": str(results.model), "rows": [dataclasses.asdict(row) for row in results.rows]},
    )
