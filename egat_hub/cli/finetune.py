"""``egat-hub finetune``."""

from __future__ import annotations

from egat_hub.cli.main import Answer
from egat_hub.experiments.finetuning import FinetuneOptions
from egat_hub.experiments.finetuning import finetune as finetune_model


def finetune(options: FinetuneOptions) -> Answer:
    """Fine-tune a model robustly on new images, and compare its results before and after.

    A saved model that has the classes of the images keeps its head, any other model gets a new one. The run's
    folder gets model/, with weights, card and results, and before_after.md and .csv. The same command
    resumes a run that was interrupted.

    example: egat-hub finetune --model org/name --data.dir my_images --train.steps 500
    """
    results = finetune_model(options)
    table = results.table
    return Answer(
        text=f"{table.markdown()}\n\nModel: {results.model}",
        data={"model": str(results.model), "lines": table.data(), "notes": list(table.notes)},
    )
