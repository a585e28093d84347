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
from egat_hub.experiments import RunConfig
from egat_hub.experiments.starting import build_method
from egat_hub.methods import Method
from egat_hub.training.config import create_optimizer
from egat_hub.training.loop import accelerated

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


def step_times(runs: Sequence[RunConfig], classes: Sequence[str], rounds: int) -> dict[str, StepTime]:
    """Step times by method, measured alternately in this process.

    A method is timed with PGD of its own number of steps and of one step, as its run trains: in its
    precision and micro-batches, compiled or with CUDA graphs. What an attack costs beside its gradients (a
    memory of perturbations, batches that shrink) is left out. Every process calls this.

    Args:
        runs: one for each method, whose training attack is ``"pgd"`` where it has one.
        classes: class names of the data set.
        rounds: how often each is timed; medians count.
    """
    jobs: dict[str, Job] = {}
    with ExitStack() as stack:
        for run in runs:
            for steps in _numbers(run):
                method = build_method(_with(run, steps), classes, None).to(PartialState().device).train()
                stack.enter_context(accelerated(method, run.train))
                jobs[_name(run, steps)] = _step(method, run)
        times = {name: median(found) for name, found in interleaved(jobs, rounds).items()}
    return {run.label: _fitted(times, run) for run in runs}


def _fitted(times: Mapping[str, float], run: RunConfig) -> StepTime:
    numbers = _numbers(run)
    first, last = times[_name(run, numbers[0])], times[_name(run, numbers[-1])]
    if numbers == (0,):
        return StepTime(first)
    gradient = (last - first) / (numbers[-1] - numbers[0])
    return StepTime(first - numbers[0] * gradient, gradient)


def _numbers(run: RunConfig) -> tuple[int, ...]:
    """Numbers of attack steps to time; 0 for a method that does not attack."""
    most = getattr(run.method_config, "attack_steps", 0)
    return (1, max(2, most)) if most else (0,)


def _name(run: RunConfig, steps: int) -> str:
    return f"{run.label}, {steps} attack steps"


def _with(run: RunConfig, steps: int) -> RunConfig:
    if not steps:
        return run
    config: Any = run.method_config
    return replace(run, method_config=replace(config, attack_steps=steps))


def _step(method: Method, run: RunConfig) -> Job:
    train, device = run.train, PartialState().device
    share = train.batch_size // (world_size() * train.accumulation)
    images, labels = random_batch(share, run.image_size, method.model.num_classes, device)
    return training_step(
        method,
        images,
        labels,
        optimizer=create_optimizer(method, train),
        precision=PRECISIONS[train.mixed_precision or "no"],
        accumulation=train.accumulation,
    )
