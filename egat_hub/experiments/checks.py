"""Whether a run can work, before time is spent on it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from accelerate import PartialState

from egat_hub.attacks import Ramp
from egat_hub.data import MultiDomain
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.experiments.cell import Cell
from egat_hub.methods import AdversarialConfig, Method
from egat_hub.training.loop import check_quicker, create_optimizer


def check_cell(cell: Cell, dataset: MultiDomain, domains: Sequence[str]) -> Method:
    """Build the method of a cell as it will be trained.

    Args:
        cell: the run.
        dataset: has the domains.
        domains: domains to train on.

    Raises:
        UnknownNameError: a guide, explanation... that does not exist.
        ValueError: a method, network or batch size that does not fit the rest, masks that are missing, or
            what cannot be compiled or captured.
    """
    method = cell.build(len(dataset.classes))
    create_optimizer(method, cell.train, cell.transfer)
    check_quicker(method, cell.train, PartialState().device)
    _warn_of_warm_up(cell)
    without = [name for name in domains if not dataset[name].has_masks]
    if method.needs_masks and without:
        raise ValueError(
            f"{cell.variant.name} is set to use object masks and {', '.join(without)} of {dataset.name} "
            "has none. Give --masks-dir, use --data synthetic, or choose another guide."
        )
    return method


def check_evaluation(method: Method, evaluation: EvaluationConfig, image_size: int) -> None:
    """Measure a black image, without attack.

    Raises:
        UnknownNameError: an explanation or fill that does not exist.
        ValueError: an image size or explanation that the network cannot do with.
    """
    black = torch.zeros(3, image_size, image_size)
    evaluate(method.model, [(black, 0)], replace(evaluation, epsilons=()))


def _warn_of_warm_up(cell: Cell) -> None:
    """Say so if a term is still growing, or not there yet, when training ends."""
    config = cell.variant.config
    grown = {name: getattr(config, name, 0) for name in ("warmup", "epsilon_warmup", "ramp")}
    if isinstance(config, AdversarialConfig) and isinstance(ramp := config.build_attack(), Ramp):
        grown["training_attack_options.over"] = ramp.over - 1
    for name, steps in grown.items():
        if steps >= cell.train.steps:
            warnings.warn(
                f"{cell.variant.name} has {name}={steps}, and training ends at step {cell.train.steps}: its "
                f"objective is never reached. Lower {name}, or train longer.",
                stacklevel=3,
            )
