"""Check up front that runs can work."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace

import torch
from accelerate import PartialState

from egat_hub.attacks import Ramp
from egat_hub.data import MultiDomain, verify_images
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.experiments.config import RunConfig
from egat_hub.experiments.starting import SavedModel, build_method
from egat_hub.methods import AdversarialConfig, Method
from egat_hub.training.log import check_trackers
from egat_hub.training.loop import check_accelerated
from egat_hub.training.optimizer import create_optimizer


def check_runs(
    runs: Iterable[RunConfig], dataset: MultiDomain, saved: SavedModel | None, trackers: Iterable[str] = ()
) -> None:
    """Build and measure what the runs need, and decode all images once; every process calls this.

    Args:
        runs: resolved configs; of runs that differ in domain, seed or label only, one is built.
        dataset: their data set.
        saved: the saved model that they start from.
        trackers: names of Accelerate's trackers.

    Raises:
        UnknownNameError: a guide, explanation, fill... that does not exist.
        UnreadableImageError: images that cannot be decoded.
        ImportError: a tracker that is not installed.
        ValueError: a method, network, explanation or batch size that does not fit the rest, or missing masks.
    """
    check_trackers(trackers)
    runs = list(runs)
    alike = {repr(replace(run, domain="", seed=0, label="")): run for run in runs}.values()
    evaluated: dict[str, EvaluationConfig] = {}
    for run in alike:
        domains = sorted({other.domain for other in runs if other.method_config == run.method_config})
        method = check_method(run, dataset, saved, domains)
        if evaluated.setdefault(repr(run.evaluation), run.evaluation) is run.evaluation:
            check_evaluation(method, run.evaluation, run.image_size)
    if PartialState().is_main_process:
        verify_images(dataset.values())
    PartialState().wait_for_everyone()


def check_method(
    run: RunConfig, dataset: MultiDomain, saved: SavedModel | None, domains: Iterable[str]
) -> Method:
    """Build the method and the optimizer of a run.

    Raises:
        ValueError: parts that do not fit each other, or no masks in one of ``domains`` for a method that
            needs them.
    """
    method = build_method(run, dataset.classes, saved)
    method.check_model()
    create_optimizer(method, run.train, run.transfer)
    check_accelerated(method, run.train, PartialState().device)
    _warn_of_warm_up(run)
    without = [name for name in domains if not dataset[name].has_masks]
    if method.needs_masks and without:
        raise ValueError(
            f"{run.label} is set to use object masks and {', '.join(without)} of {dataset.name} has none. "
            "Give --data.masks_dir, use --data synthetic, or choose another guide."
        )
    for name in domains:
        images = len(dataset[name].indices("train"))
        if run.train.batch_size > images:
            warnings.warn(
                f"train.batch_size is {run.train.batch_size}, and {name} has {images} training images: every "
                "batch repeats images. Lower train.batch_size.",
                stacklevel=3,
            )
    return method


def check_evaluation(method: Method, evaluation: EvaluationConfig, image_size: int) -> None:
    """Evaluate a black image, without attack.

    Raises:
        UnknownNameError: an explanation or fill that does not exist.
        ValueError: an image size or explanation that does not fit the network.
    """
    black = torch.zeros(3, image_size, image_size)
    evaluate(method.model, [(black, 0)], replace(evaluation, epsilons=()))


def _warn_of_warm_up(run: RunConfig) -> None:
    """Warn if a term of the loss is not at its full weight when training ends."""
    config = run.method_config
    grown = {name: getattr(config, name, 0) for name in ("warmup", "epsilon_warmup", "ramp")}
    if isinstance(config, AdversarialConfig) and isinstance(ramp := config.build_attack(), Ramp):
        grown["training_attack_options.over"] = ramp.over - 1
    for name, steps in grown.items():
        if steps >= run.train.steps:
            warnings.warn(
                f"{run.label} has {name}={steps}, and training ends at step {run.train.steps}: its objective "
                f"is never reached. Lower {name}, or train longer.",
                stacklevel=3,
            )
