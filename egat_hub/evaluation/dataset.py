"""Evaluate a model on a data set: the same rows on any number of processes, and after an interruption."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from egat_hub.attacks import Attack
from egat_hub.core.config import to_dict
from egat_hub.core.distributed import gather_objects, rank, world_size
from egat_hub.core.metric import Key, Values
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.results import Outcome, Row
from egat_hub.data import EvaluationView
from egat_hub.evaluation.config import EvaluationConfig, measure
from egat_hub.evaluation.inputs import Samples, check_output, device_of, is_explainable, unwrapped
from egat_hub.evaluation.journal import Journal, Measured, digest_of
from egat_hub.evaluation.sanity import measure_checks
from egat_hub.metrics.faithfulness import random_map_checks

log = logging.getLogger(__name__)

Measure = Callable[..., Values]
"""(model, images [B,3,H,W] in [0,1], labels [B], random, masks=[B,1,H,W] or None) -> values of a batch."""


def evaluate(
    model: nn.Module,
    dataset: Dataset | Sequence[tuple[Tensor, int]],
    config: EvaluationConfig | None = None,
    *,
    method: str = "",
    train_domain: str = "",
    seed: int = 0,
    selection: str = "",
    attack: Attack | None = None,
    surrogates: Sequence[nn.Module] = (),
    workers: int = 0,
    journal: str | Path | None = None,
) -> list[Row]:
    """Measure accuracy, robust accuracy, and faithfulness and stability of explanations.

    Every process calls this function and gets all rows, which do not depend on the number of processes.
    Everything runs in float32.

    Args:
        model: images in [0,1] to logits. All metrics are available for a :class:`TimmModel` and for a timm
            network, which is wrapped in one; for other modules, clean and robust accuracy.
        dataset: a torch data set or a sequence of (image [3,H,W] in [0,1], label), or of mappings with
            ``"image"``, ``"label"`` and possibly ``"index"`` and ``"mask"``; or tensors (images, labels).
        config: what to measure.
        method, train_domain, seed, selection: how the model was trained, and the rule that selected its
            weights, for the rows.
        attack: attack to use instead of ``config.attack``, such as one in the latent space of a diffusion
            model (:class:`~egat_hub.attacks.diffusion.SCA`), whose rows have a ``latent_epsilon`` instead
            of an ``epsilon``.
        surrogates: other models of the same classes, on the model's device; a sanity check compares attacks
            on them with those on the model itself.
        workers: processes that load images.
        journal: folder that stores every measured batch, so that an interrupted evaluation resumes with the
            same results. Remove it once the rows are saved.

    Raises:
        TypeError: an item of the data set has another form, or the model does not return a tensor.
        ValueError: the data set is empty, images are not in [0, 1], labels do not fit the model, its outputs
            are not logits, or the journal is of another model, data set or config.
    """
    outcomes = evaluate_per_image(
        model,
        dataset,
        config,
        attack=attack,
        surrogates=surrogates,
        workers=workers,
        journal=journal,
        method=method,
        train_domain=train_domain,
        seed=seed,
        selection=selection,
    )
    return [outcome.row for outcome in outcomes]


@torch.inference_mode(False)
def evaluate_per_image(
    model: nn.Module,
    dataset: Dataset | Sequence[tuple[Tensor, int]],
    config: EvaluationConfig | None = None,
    *,
    attack: Attack | None = None,
    surrogates: Sequence[nn.Module] = (),
    workers: int = 0,
    journal: str | Path | None = None,
    **noted: Any,
) -> list[Outcome]:
    """Like :func:`evaluate`, with the value of every image for each row.

    Args:
        model, dataset, config, attack, surrogates, workers, journal: as for :func:`evaluate`.
        noted: other fields of the rows: ``method``, ``train_domain``, ``seed``, ``selection``.
    """
    config, samples = config or EvaluationConfig(), Samples(dataset)
    (network, name), first = unwrapped(model), samples[0][0]
    if config.explanation is not None and not is_explainable(network, first):
        config = replace(config, explanation=None)
    check_output(network, first, attacked=bool(config.epsilons))
    settings = to_dict(replace(config, batch_size=1))
    if attack is not None:
        settings["attack"], settings["attack_options"] = attack.name, attack.protocol()
    view = samples.dataset if isinstance(samples.dataset, EvaluationView) else None
    row: dict[str, Any] = {
        "model": name,
        "dataset": view.domain.dataset if view else "",
        "test_domain": view.domain.name if view else "",
        "split": view.split if view else "",
        **{"method": "", "train_domain": "", "seed": 0, **noted},
    }

    def run(measure: Measure, images: int, folder: Path | None) -> list[Outcome]:
        kept = Journal.of(folder, network, samples, settings) if folder else None
        measure = partial(measure, config=config, attack=attack)
        return list(_outcomes(row, _values(measure, network, samples, images, config, workers, kept)))

    if config.epsilons:
        images = first[None].to(device_of(network))
        _log_cost((attack or config.build_attack()).adapted(network, images), config, len(samples))
    folder = None if journal is None else Path(journal)
    classes = len(view.domain.classes) if view else None
    outcomes = run(partial(measure, classes=classes), len(samples), folder)
    if config.epsilons and config.checks:
        others = [unwrapped(other)[0] for other in surrogates]
        checks = partial(measure_checks, surrogates=others)
        outcomes += run(checks, config.checks, folder and folder / "checks")
    return [*outcomes, *random_map_checks(outcomes)]


def _log_cost(attack: Attack, config: EvaluationConfig, images: int) -> None:
    """Log the maximum number of forwards and backwards of the attack, if known."""
    if attack.passes is not None and rank() == 0:
        most = attack.passes * config.restarts * len(config.epsilons)
        log.info(
            "%s: up to %s passes for an image that is never misclassified, %s in all",
            attack.name,
            f"{most:,}",
            f"{most * images:,}",
        )


def _outcomes(row: Mapping[str, Any], columns: Mapping[Key, Sequence[float]]) -> Iterator[Outcome]:
    for (metric, protocol), values in columns.items():
        if defined := [value for value in values if not math.isnan(value)]:
            mean = math.fsum(defined) / len(defined)
            yield Outcome(
                Row(**row, metric=metric, value=mean, n=len(defined), protocol=dict(protocol)), values
            )


def _values(
    measure: Measure,
    model: nn.Module,
    samples: Samples,
    images: int,
    config: EvaluationConfig,
    workers: int,
    journal: Journal | None,
) -> dict[Key, list[float]]:
    """Values of every metric, NaN where undefined, for evenly spaced images in the order of their indices."""
    images = min(images, len(samples))
    positions = (torch.arange(images) * (len(samples) / images)).long()
    parts = gather_objects(journal.read(samples) if journal else [])
    stored = {batch.positions[0]: batch for part in parts for batch in part}
    known = {position for batch in stored.values() for position in batch.positions}
    batches = [[p for p in batch.tolist() if p not in known] for batch in positions.split(config.batch_size)]
    mine = [batch for batch in batches if batch][rank() :: world_size()]
    found = _measured(measure, model, samples, mine, config.seed, workers, journal)
    return _join([*stored.values(), *(batch for part in gather_objects(found) for batch in part)], images)


def _measured(
    measure: Measure,
    model: nn.Module,
    samples: Samples,
    batches: Sequence[list[int]],
    seed: int,
    workers: int,
    journal: Journal | None,
) -> list[Measured]:
    loader, device = DataLoader(samples, batch_sampler=batches, num_workers=workers), device_of(model)
    bar = tqdm(loader, desc="Evaluating", leave=False, disable=None if rank() == 0 else True)
    found = []
    for positions, (images, labels, index, masks) in zip(batches, bar, strict=True):
        _check(images)
        random = SampleRandom(seed, tuple(index.tolist()))
        objects = masks.to(device) if masks.numel() else None
        columns = measure(model, images.to(device), labels.to(device), random, masks=objects)
        batch = Measured(positions, random.index, {name: v.tolist() for name, v in columns.items()})
        if journal:
            journal.write(batch, digest_of(images, labels))
        found.append(batch)
    return found


def _join(batches: Sequence[Measured], count: int) -> dict[Key, list[float]]:
    """Values of every metric in the order of the images, NaN where undefined."""
    batches = sorted(batches, key=lambda batch: batch.positions[0])
    numbers = [number for batch in batches for number in batch.numbers]
    if len(set(numbers)) != count:
        raise ValueError(f"Expected {count} images with indices of their own, got {len(set(numbers))}.")
    order = sorted(range(count), key=numbers.__getitem__)
    joined = {}
    for column in dict.fromkeys(column for batch in batches for column in batch.columns):
        values = [
            value for batch in batches for value in batch.columns.get(column, [math.nan] * len(batch.numbers))
        ]
        joined[column] = [values[i] for i in order]
    return joined


def _check(images: Tensor) -> None:
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise ValueError(
            f"Expected images in [0, 1], got values from {low:.3g} to {high:.3g}. Leave normalization to the "
            "model, so that epsilon is in pixel units."
        )
