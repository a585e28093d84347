"""``egat-hub train``, ``egat-hub finetune`` and ``egat-hub sweep``."""

from __future__ import annotations

import dataclasses

from egat_hub.cli.evaluate import summary
from egat_hub.cli.main import Answer
from egat_hub.experiments import finetuning
from egat_hub.experiments.finetuning import FinetuneOptions
from egat_hub.experiments.options import SweepOptions, TrainOptions
from egat_hub.experiments.sweeps import compare
from egat_hub.hub.layout import CARD


def train(options: TrainOptions) -> Answer:
    """Train a network by one method on one domain; measure and save it.

    The run's folder gets model/, with weights, card and results. The same command resumes a run that was
    interrupted. 'egat-hub sweep' compares methods, domains and seeds.

    example: egat-hub train --model resnet50 --data.dir my_images --output runs/mine
    """
    results = finetuning.prepare(options).run()
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


def finetune(options: FinetuneOptions) -> Answer:
    """Fine-tune a model robustly on new images, and compare its results before and after.

    A saved model that has the classes of the images keeps its head, any other model gets a new one. The run's
    folder gets model/, with weights, card and results, and before_after.md and .csv. The same command
    resumes a run that was interrupted.

    example: egat-hub finetune --model org/name --data.dir my_images --train.steps 500
    """
    results = finetuning.finetune(options)
    table = results.table
    return Answer(
        text=f"{table.markdown()}\n\nModel: {results.model}",
        data={"model": str(results.model), "lines": table.data(), "notes": list(table.notes)},
    )


def sweep(options: SweepOptions) -> Answer:
    """Train and compare methods over domains and seeds, in this process, on Ray, or on Slurm.

    The output folder gets tables, results.json, and a folder for each run. The same command skips finished
    runs and resumes those that were interrupted.

    example: egat-hub sweep --data vlcs --data.dir VLCS --methods erm egat --seeds 0 1 2 --executor ray
    """
    comparison = compare(options)
    rows = [dataclasses.asdict(row) for results in comparison.results for row in results.rows]
    return Answer(text=comparison.text, data={"output": str(comparison.output), "rows": rows})
