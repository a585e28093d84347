"""``egat-hub train``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from egat_hub.cli.main import Answer
from egat_hub.core.options import Flat, Without
from egat_hub.data import DataConfig
from egat_hub.evaluation import EvaluationConfig
from egat_hub.experiments.command import launched_precision
from egat_hub.experiments.single import prepare_single
from egat_hub.experiments.tables.report import report
from egat_hub.experiments.variants import variant_of
from egat_hub.hub.layout import CARD
from egat_hub.training import ModelConfig, Resources, TrainConfig


def train(
    model: ModelConfig,
    train: TrainConfig,
    evaluation: Annotated[EvaluationConfig, Without("epsilons")],
    resources: Resources,
    *,
    data: Annotated[DataConfig, Flat()] = DataConfig(name="folder"),
    domain: str | None = None,
    method: str = "egat",
    options: dict[str, Any] | None = None,
    epsilon: float = 0.01,
    seed: int = 0,
    output: Path | None = None,
) -> Answer:
    """Train a network by one method on one domain; measure and save it.

    The folder of the run holds model/, with weights, card and figures, and goes on where it was stopped when
    the same command is given again. Comparisons of methods, domains and seeds are the business of recipes.

    example: egat-hub train --model.name resnet50 --data-dir my_images --output runs/mine

    Args:
        model: the network.
        train: how it is trained.
        evaluation: what is measured.
        resources: loading, logging, saving.
        data: the images.
        domain: domain to train on; needed where there are several.
        method: training method: egat, pgd_at, trades, erm...
        options: fields of the method, such as '{"attack_steps": 5}'.
        epsilon: radius of the attack in training and evaluation, in [0, 1].
        seed: seed of weights, batches, dropout, attacks and mixup.
        output: folder of the run; by default one in runs/train, named by its settings.
    """
    ready = prepare_single(
        variant_of(method, options or {}, epsilon),
        model=model,
        data=data,
        domain=domain,
        seed=seed,
        train=dataclasses.replace(train, mixed_precision=launched_precision(train.mixed_precision)),
        evaluation=dataclasses.replace(evaluation, epsilons=(epsilon,)),
        resources=resources,
        output=output,
    )
    outcomes = ready.run()
    rows = [row for row, _ in outcomes]
    card = f"Every figure with its protocol: {ready.model / CARD}"
    return Answer(
        text=f"{report(outcomes, epsilon=epsilon).markdown()}\n{card}\nModel: {ready.model}",
        data={"model": str(ready.model), "rows": [dataclasses.asdict(row) for row in rows]},
    )
