"""Time of a training step as a function of the number of attack gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from accelerate import PartialState
from timing import Job, interleaved, random_batch, training_step

from egat_hub.core.distributed import world_size
from egat_hub.experiments.cell import Cell
from egat_hub.methods import Method
from egat_hub.training.loop import create_optimizer, quicker

PRECISIONS = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Autocast types by their name in ``TrainConfig.mixed_precision``."""


@dataclass(frozen=True)
class StepTime:
    """A step takes ``rest + gradients * gradient`` seconds.

    Attributes:
        rest: seconds of everything but the attack's gradients.
        gradient: seconds of one attack gradient of the batch.
    """

    rest: float
    gradient: float = 0.0

    def seconds(self, gradients: float) -> float:
        """Time of a step with that many attack gradients."""
        return self.rest + gradients * self.gradient


def step_times(cells: Sequence[Cell], num_classes: int, rounds: int) -> dict[str, StepTime]:
    """Step times by method, measured alternately in this process.

    A method is timed with PGD of its own number of steps and of one step, as its cell trains: in its
    precision and micro-batches, compiled or with CUDA graphs. What an attack costs beside its gradients (a
    memory of perturbations, batches that shrink) is left out. Every process calls this.

    Args:
        cells: one of each method, whose training attack is ``"pgd"`` where it has one.
        num_classes: of the data set.
        rounds: how often each is timed; medians count.
    """
    jobs: dict[str, Job] = {}
    with ExitStack() as stack:
        for cell in cells:
            for steps in _numbers(cell):
                method = _with(cell, steps).build(num_classes).to(PartialState().device).train()
                stack.enter_context(quicker(method, cell.train))
                jobs[_name(cell, steps)] = _step(method, cell)
        times = {name: median(found) for name, found in interleaved(jobs, rounds).items()}
    return {cell.variant.name: _fitted(times, cell) for cell in cells}


def _fitted(times: Mapping[str, float], cell: Cell) -> StepTime:
    numbers = _numbers(cell)
    first, last = times[_name(cell, numbers[0])], times[_name(cell, numbers[-1])]
    if numbers == (0,):
        return StepTime(first)
    gradient = (last - first) / (numbers[-1] - numbers[0])
    return StepTime(first - numbers[0] * gradient, gradient)


def _numbers(cell: Cell) -> tuple[int, ...]:
    """Numbers of attack steps to time; 0 for a method that does not attack."""
    most = getattr(cell.variant.config, "attack_steps", 0)
    return (1, max(2, most)) if most else (0,)


def _name(cell: Cell, steps: int) -> str:
    return f"{cell.variant.name}, {steps} attack steps"


def _with(cell: Cell, steps: int) -> Cell:
    if not steps:
        return cell
    config: Any = cell.variant.config
    return replace(cell, variant=replace(cell.variant, config=replace(config, attack_steps=steps)))


def _step(method: Method, cell: Cell) -> Job:
    train, device = cell.train, PartialState().device
    share = train.batch_size // (world_size() * train.accumulation)
    images, labels = random_batch(share, cell.data.image_size, method.model.num_classes, device)
    return training_step(
        method,
        images,
        labels,
        optimizer=create_optimizer(method, train),
        precision=PRECISIONS[train.mixed_precision or "no"],
        accumulation=train.accumulation,
    )
