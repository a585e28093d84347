"""Judge a model on a data set: one pass, the same figures on any number of processes."""

from __future__ import annotations

import datetime
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from egat_hub.backbone import Backbone
from egat_hub.collective import gather_objects, rank, world_size
from egat_hub.data import EvaluationView
from egat_hub.engine.columns import Column, Columns
from egat_hub.engine.control_flags import control_flags
from egat_hub.engine.journal import Journal, Measured
from egat_hub.engine.measuring import EvaluationConfig, measure, measure_signs
from egat_hub.randomness import SampleRandom
from egat_hub.results import Outcome, Row

log = logging.getLogger(__name__)

Sample = tuple[Tensor, int, int, Tensor]
"""Image [3,H,W] in [0,1], label, index, mask [1,H,W] in [0,1] or an empty tensor."""

NO_MASK = torch.empty(0)


def evaluate(
    model: nn.Module,
    dataset: Dataset | Sequence[tuple[Tensor, int]],
    config: EvaluationConfig | None = None,
    *,
    method: str = "",
    train_domain: str = "",
    seed: int = 0,
    selection: str = "",
    surrogates: Sequence[nn.Module] = (),
    workers: int = 0,
    journal: str | Path | None = None,
) -> list[Row]:
    """Accuracy, robust accuracy, faithfulness and stability of explanations, as result rows.

    With several processes every one of them calls this function and gets all rows. Batches are cut before
    they are shared out, so their number changes no figure. Everything runs in float32.

    Args:
        model: images in [0,1] to logits. A :class:`Backbone`, or a bare timm network, which is wrapped in
            one, gets all figures; any other module accuracy and robust accuracy only.
        dataset: items are (image [3,H,W] in [0,1], label) or what :class:`EvaluationView` gives, whose masks
            are used, too.
        config: what to measure.
        method: training method, as noted in the rows.
        train_domain: training domain, as noted in the rows.
        seed: training seed, as noted in the rows.
        selection: the rule that chose the weights, as noted in the rows.
        surrogates: other models of the same classes, on the model's device; whether attacks on them harm the
            model more than those on itself is one of the signs that are looked for.
        workers: processes that load images.
        journal: folder that keeps every batch when it is measured, so that a killed evaluation goes on
            where it stopped and ends with the same rows; ``config.batch_size`` is what a kill may cost.
            Remove it once the rows are kept.

    Raises:
        ValueError: the data set is empty, images are not in [0, 1], labels do not fit the model, or the
            journal is that of another model, data set or configuration.
    """
    noted = {"method": method, "train_domain": train_domain, "seed": seed, "selection": selection}
    outcomes = judge(model, dataset, config, surrogates=surrogates, workers=workers, journal=journal, **noted)
    return [outcome.row for outcome in outcomes]


def judge(
    model: nn.Module,
    dataset: Dataset | Sequence[tuple[Tensor, int]],
    config: EvaluationConfig | None = None,
    *,
    surrogates: Sequence[nn.Module] = (),
    workers: int = 0,
    journal: str | Path | None = None,
    **noted: Any,
) -> list[Outcome]:
    """As :func:`evaluate`, with the value of every image behind each row.

    Args:
        model: as for :func:`evaluate`.
        dataset: as for :func:`evaluate`.
        config: as for :func:`evaluate`.
        surrogates: as for :func:`evaluate`.
        workers: as for :func:`evaluate`.
        journal: as for :func:`evaluate`.
        noted: further fields of the rows: ``method``, ``train_domain``, ``seed``, ``selection``.
    """
    config = config or EvaluationConfig()
    model, name = _prepare(model)
    samples = _Samples(dataset)
    context: dict[str, Any] = {
        "model": name,
        "dataset": dataset.domain.dataset if isinstance(dataset, EvaluationView) else "",
        "test_domain": dataset.domain.name if isinstance(dataset, EvaluationView) else "",
        "split": dataset.split if isinstance(dataset, EvaluationView) else "",
        **{"method": "", "train_domain": "", "seed": 0, **noted},
    }
    kept = None if journal is None else Journal.of(Path(journal), model, dataset, config)
    everything = torch.arange(len(samples))
    columns = _measure_all(model, samples, everything, config, workers, measure, kept)
    if config.epsilons and config.checks:
        signs = partial(measure_signs, surrogates=[_prepare(other)[0] for other in surrogates])
        columns |= _measure_all(model, samples, _spread(everything, config.checks), config, workers, signs)
    outcomes = []
    for column, values in columns.items():
        defined = [value for value in values if not math.isnan(value)]
        if defined:
            mean, protocol = math.fsum(defined) / len(defined), dict(column.protocol)
            row = Row(**context, metric=column.metric, value=mean, n=len(defined), protocol=protocol)
            outcomes.append(Outcome(row, values))
    return [*outcomes, *control_flags(outcomes)]


class _Samples(Dataset[Sample]):
    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        if not len(dataset):
            raise ValueError("Expected images to evaluate on, got an empty data set.")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> Sample:
        item = self.dataset[position]
        if isinstance(item, dict):
            return item["image"], int(item["label"]), int(item["index"]), item.get("mask", NO_MASK)
        return item[0], int(item[1]), position, NO_MASK


def _prepare(model: Any) -> tuple[nn.Module, str]:
    model = extract_model_from_parallel(model)
    backbone = getattr(model, "backbone", model)
    if not isinstance(backbone, Backbone) and hasattr(model, "forward_features"):
        backbone = Backbone(model)
    if isinstance(backbone, Backbone):
        return backbone, backbone.architecture
    return model, type(model).__name__


def _measure_all(
    model: nn.Module,
    samples: _Samples,
    positions: Tensor,
    config: EvaluationConfig,
    workers: int,
    measured: Callable[..., Columns],
    journal: Journal | None = None,
) -> dict[Column, list[float]]:
    """Values of every column in the order of the images, NaN where one is not defined."""
    done = {
        batch.positions[0]: batch
        for part in gather_objects(journal.read() if journal else [])
        for batch in part
    }
    known = {position for batch in done.values() for position in batch.positions}
    batches = positions.split(config.batch_size)
    left = [rest for batch in batches if (rest := [i for i in batch.tolist() if i not in known])]
    mine = left[rank() :: world_size()]
    loader = DataLoader(samples, batch_sampler=mine, num_workers=workers)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    found: list[Measured] = []
    begin = time.monotonic()
    bar = tqdm(loader, desc="Evaluating", leave=False, disable=rank() != 0)
    for where, (images, labels, index, masks) in zip(mine, bar, strict=True):
        _check(images)
        images = images.to(device)
        if not found and (cost := _cost(model, images, config, len(positions) - len(known))):
            bar.set_postfix_str(cost)
            log.info("%s: %s", config.attack, cost)
        random = SampleRandom(config.seed, tuple(index.tolist()))
        objects = masks.to(device) if masks.numel() else None
        columns = measured(model, images, labels.to(device), random, config, objects)
        batch = Measured(where, random.index, {name: v.tolist() for name, v in columns.items()})
        if journal:
            journal.write(batch)
        if not found:
            seconds = round((len(mine) - 1) * (time.monotonic() - begin))
            log.info("batches left: %d, about %s", len(mine) - 1, datetime.timedelta(seconds=seconds))
        found.append(batch)
    fresh = [batch for part in gather_objects(found) for batch in part]
    return _join(sorted([*done.values(), *fresh], key=lambda batch: batch.positions[0]), len(positions))


def _spread(positions: Tensor, count: int) -> Tensor:
    """At most ``count`` of the positions, at equal distances."""
    if count >= len(positions):
        return positions
    return positions[(torch.arange(count) * (len(positions) / count)).long()]


def _cost(model: nn.Module, images: Tensor, config: EvaluationConfig, count: int) -> str:
    """Passes that the attack takes at most; empty in all processes but the first, or if it is not known."""
    if rank() or not config.epsilons:
        return ""
    passes = config.build_attack().adapted(model, images).passes
    if passes is None:
        return ""
    most = passes * config.restarts * len(config.epsilons)
    return f"up to {most:,} passes an image that stands, {most * count:,} in all"


def _join(batches: Sequence[Measured], count: int) -> dict[Column, list[float]]:
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
    if not (low >= 0 and high <= 1):  # so that NaN is refused too
        raise ValueError(
            f"Expected images in [0, 1], got values from {low:.3g} to {high:.3g}. Leave normalisation to the "
            "model, so that epsilon is in units of pixels."
        )
