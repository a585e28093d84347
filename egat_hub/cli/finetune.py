"""``egat-hub finetune``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from egat_hub.cli.main import Answer
from egat_hub.core.options import Flat, Without
from egat_hub.data import DataConfig
from egat_hub.evaluation import EvaluationConfig
from egat_hub.experiments.command import launched_precision
from egat_hub.experiments.finetuning import Request, prepare
from egat_hub.experiments.finetuning_run import run
from egat_hub.training import Resources, TrainConfig

TRAINING = TrainConfig(steps=1000, validate_every=100, selection="last")
"""The last weights are kept: those of the highest clean accuracy may not have learned to withstand attack."""


def finetune(
    train: TrainConfig = TRAINING,
    evaluation: Annotated[EvaluationConfig, Without("epsilons")] = EvaluationConfig(),
    resources: Resources = Resources(),
    *,
    model: str,
    data: Annotated[DataConfig, Flat(), Without("image_size")] = DataConfig(name="folder"),
    image_size: int | None = None,
    domain: str | None = None,
    method: str | None = None,
    options: dict[str, Any] | None = None,
    epsilon: float = 0.01,
    head_warmup: int | None = None,
    layer_decay: float = 1.0,
    freeze_backbone: bool = False,
    freeze_bn: bool | None = None,
    seed: int = 0,
    old_data: str | None = None,
    old_data_dir: str | None = None,
    output: Path | None = None,
) -> Answer:
    """Fine-tune a model on new images, robustly; say what it could do before and what it can do after.

    A model that knows the classes of the images by name keeps its head, any other gets a new one. The folder
    of the run holds model/, with weights, card and figures, and before_after.md and .csv; it goes on where it
    was stopped when the same command is given again.

    example: egat-hub finetune --model org/name --data-dir my_images --train.steps 500

    Args:
        train: how the network is trained.
        evaluation: what is measured.
        resources: loading, logging, saving.
        model: folder of a saved model, organisation/name[@revision] on the Hub, or timm's name of a network.
        data: the new images.
        image_size: side of the images in pixels; by default the model's, or 224 with weights of timm's.
        domain: domain to train on; needed where there are several.
        method: training method; by default egat, or pgd_at where the network has no map for it.
        options: fields of the method, such as '{"attack_steps": 5}'.
        epsilon: radius of the attack in training and evaluation, in [0, 1].
        head_warmup: first steps, which train the head alone; by default a tenth of them for a new head.
        layer_decay: learning rate of a layer relative to the next one towards the head, in (0, 1].
        freeze_backbone: train the head alone, in all steps.
        freeze_bn: keep the statistics of BatchNorm; true unless given.
        seed: seed of the new head, batches, dropout, attacks and mixup.
        old_data: data set that the model was trained on; by default the one that it names.
        old_data_dir: folder of that data set; without it only generated images are opened.
        output: folder of the run; by default one in runs/finetune, named by its settings.
    """
    ready = prepare(
        Request(
            model=model,
            data=data,
            image_size=image_size,
            domain=domain,
            method=method,
            options=options or {},
            epsilon=epsilon,
            head_warmup=head_warmup,
            layer_decay=layer_decay,
            freeze_backbone=freeze_backbone,
            freeze_bn=freeze_bn is not False,
            seed=seed,
            train=dataclasses.replace(train, mixed_precision=launched_precision(train.mixed_precision)),
            evaluation=evaluation,
            old_data=old_data,
            old_data_dir=old_data_dir,
            resources=resources,
            output=output,
        )
    )
    tuned = run(ready)
    return Answer(
        text=f"{tuned.table.markdown()}\n\nModel: {tuned.model}",
        data={"model": str(tuned.model), "lines": tuned.table.data(), "notes": list(tuned.table.notes)},
    )
