"""Evaluate a model on a data set: the same rows on any number of processes, and after an interruption."""

from __future__ import annotations

import datetime
import logging
import math
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from tqdm.auto import tqdm

from egat_hub.attacks import Attack
from egat_hub.core.config import to_dict
from egat_hub.core.distributed import gather_objects, rank, world_size
from egat_hub.core.metric import Key, Values
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.results import Outcome, Row
from egat_hub.data import EvaluationView
from egat_hub.evaluation.config import EvaluationConfig, measure, measure_checks
from egat_hub.evaluation.journal import Journal, Measured, digest_of
from egat_hub.evaluation.model import check_output, device_of, is_explainable, unwrapped
from egat_hub.metrics.faithfulness import random_map_checks

log = logging.getLogger(__name__)

Measure = Callable[..., Values]
"""(model, images [B,3,H,W] in [0,1], labels [B], random, masks=[B,1,H,W] or None) -> values of a batch."""

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
        method: training method, for the rows.
        train_domain: training domain, for the rows.
        seed: training seed, for the rows.
        selection: rule that selected the weights, for the rows.
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
    noted = {"method": method, "train_domain": train_domain, "seed": seed, "selection": selection}
    outcomes = evaluate_per_image(
        model,
        dataset,
        config,
        attack=attack,
        surrogates=surrogates,
        workers=workers,
        journal=journal,
        **noted,
    )
    return [outcome.row for outcome in outcomes]


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
        model: as for :func:`evaluate`.
        dataset: as for :func:`evaluate`.
        config: as for :func:`evaluate`.
        attack: as for :func:`evaluate`.
        surrogates: as for :func:`evaluate`.
        workers: as for :func:`evaluate`.
        journal: as for :func:`evaluate`.
        noted: other fields of the rows: ``method``, ``train_domain``, ``seed``, ``selection``.
    """
    config = config or EvaluationConfig()
    with torch.inference_mode(False):
        samples = _Samples.of(dataset)
        return _evaluate(model, samples, config, attack, surrogates, workers, journal, noted)


def _evaluate(
    model: nn.Module,
    samples: _Samples,
    config: EvaluationConfig,
    attack: Attack | None,
    surrogates: Sequence[nn.Module],
    workers: int,
    journal: str | Path | None,
    noted: Mapping[str, Any],
) -> list[Outcome]:
    network, _ = unwrapped(model)
    if config.explanation is not None and not is_explainable(network, samples.first):
        config = replace(config, explanation=None)
    check_output(network, samples.first, attacked=bool(config.epsilons))
    settings = to_dict(replace(config, batch_size=1))
    if attack is not None:
        settings["attack"], settings["attack_options"] = attack.name, attack.protocol()
    shared: dict[str, Any] = {
        "settings": settings,
        "random_seed": config.seed,
        "batch_size": config.batch_size,
        "workers": workers,
        **noted,
    }
    view = samples.dataset
    classes = len(view.domain.classes) if isinstance(view, EvaluationView) else None
    outcomes = evaluate_by(
        partial(measure, config=config, classes=classes, attack=attack),
        network,
        view,
        journal=journal,
        announce=partial(_cost, config=config, attack=attack),
        **shared,
    )
    if config.epsilons and config.checks:
        checks = partial(
            measure_checks,
            config=config,
            attack=attack,
            surrogates=[unwrapped(other)[0] for other in surrogates],
        )
        kept = None if journal is None else Path(journal) / "checks"
        outcomes += evaluate_by(checks, network, view, images=config.checks, journal=kept, **shared)
    return [*outcomes, *random_map_checks(outcomes)]


def _cost(
    model: nn.Module, images: Tensor, count: int, *, config: EvaluationConfig, attack: Attack | None
) -> str:
    """Maximum number of forwards and backwards of the attack, as text; empty if unknown."""
    attack = attack or config.build_attack()
    passes = attack.adapted(model, images).passes if config.epsilons else None
    if passes is None:
        return ""
    most = passes * config.restarts * len(config.epsilons)
    return f"{attack.name}: up to {most:,} passes an image that stands, {most * count:,} in all"


def evaluate_by(
    measure: Measure,
    model: nn.Module,
    dataset: Dataset | Sequence[tuple[Tensor, int]],
    *,
    settings: Mapping[str, Any],
    random_seed: int,
    batch_size: int,
    images: int | None = None,
    workers: int = 0,
    journal: str | Path | None = None,
    announce: Callable[[nn.Module, Tensor, int], str] | None = None,
    **noted: Any,
) -> list[Outcome]:
    """Result rows with the value of every image, from a function that measures a batch.

    Args:
        measure: function of a batch; it sets eval mode itself.
        model: as for :func:`egat_hub.evaluate`.
        dataset: as for :func:`egat_hub.evaluate`.
        settings: settings that results depend on, of JSON types; a journal of others is refused.
        random_seed: seed of the random numbers passed to ``measure``.
        batch_size: images per batch.
        images: number of images, evenly spaced; all by default.
        workers: processes that load images.
        journal: folder that stores measured batches.
        announce: (model, batch, number of images) -> message to log before the first batch.
        noted: fields of the rows: ``method``, ``train_domain``, ``seed``, ``selection``.

    Raises:
        ValueError: the data set is empty, images are not in [0, 1], or the journal is of another evaluation.
    """
    model, name = unwrapped(model)
    samples = _Samples.of(dataset)
    positions = _spread(len(samples), images)
    kept = None if journal is None else Journal.of(Path(journal), model, samples, settings)
    done = _known(kept, samples)
    left = _batches(positions, batch_size, done)
    found = _measured(measure, model, samples, left, random_seed, workers, kept, announce)
    columns = _join([*done, *found], len(positions))
    context: dict[str, Any] = {
        "model": name,
        "dataset": dataset.domain.dataset if isinstance(dataset, EvaluationView) else "",
        "test_domain": dataset.domain.name if isinstance(dataset, EvaluationView) else "",
        "split": dataset.split if isinstance(dataset, EvaluationView) else "",
        **{"method": "", "train_domain": "", "seed": 0, **noted},
    }
    outcomes = []
    for column, values in columns.items():
        defined = [value for value in values if not math.isnan(value)]
        if defined:
            mean, protocol = math.fsum(defined) / len(defined), dict(column.protocol)
            row = Row(**context, metric=column.metric, value=mean, n=len(defined), protocol=protocol)
            outcomes.append(Outcome(row, values))
    return outcomes


class _Samples(Dataset[Sample]):
    """A data set whose items all have the same form."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    @classmethod
    def of(cls, dataset: Any) -> _Samples:
        """The samples of a data set, or of tensors of images and labels."""
        if isinstance(dataset, tuple) and len(dataset) == 2 and all(isinstance(x, Tensor) for x in dataset):
            dataset = TensorDataset(*dataset)
        if isinstance(dataset, DataLoader):
            raise TypeError("Expected a data set, got a DataLoader. Pass its .dataset and config.batch_size.")
        if not len(dataset):
            raise ValueError("Expected images to evaluate on, got an empty data set.")
        return cls(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> Sample:
        item = self.dataset[position]
        if isinstance(item, Mapping) and {"image", "label"} <= item.keys():
            image, label, mask = item["image"], item["label"], item.get("mask", NO_MASK)
            index = int(item.get("index", position))
        elif isinstance(item, tuple | list) and len(item) == 2:
            (image, label), index, mask = item, position, NO_MASK
        else:
            raise TypeError(f"{ITEM}, got a {type(item).__name__}.")
        if not isinstance(image, Tensor) or image.ndim != 3 or not image.is_floating_point():
            found = (
                f"{image.dtype} {list(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
            )
            raise TypeError(f"{ITEM}, got an image that is a {found}.")
        return image, operator.index(label), index, mask

    @property
    def first(self) -> Tensor:
        """The first image [3,H,W]."""
        return self[0][0]


ITEM = (
    "Expected items (image, label), or mappings with image and label, of a floating-point tensor [3,H,W] in "
    "[0, 1] and a whole number"
)


def _spread(count: int, wanted: int | None) -> Tensor:
    """At most ``wanted`` evenly spaced positions below ``count``."""
    if wanted is None or wanted >= count:
        return torch.arange(count)
    return (torch.arange(wanted) * (count / wanted)).long()


def _known(journal: Journal | None, samples: _Samples) -> list[Measured]:
    """The stored batches of all processes, each once."""
    parts = gather_objects(journal.read(samples) if journal else [])
    return list({batch.positions[0]: batch for part in parts for batch in part}.values())


def _batches(positions: Tensor, size: int, done: Sequence[Measured]) -> list[list[int]]:
    known = {position for batch in done for position in batch.positions}
    batches = [[p for p in batch.tolist() if p not in known] for batch in positions.split(size)]
    return [batch for batch in batches if batch]


def _measured(
    measure: Measure,
    model: nn.Module,
    samples: _Samples,
    batches: Sequence[list[int]],
    random_seed: int,
    workers: int,
    journal: Journal | None,
    announce: Callable[[nn.Module, Tensor, int], str] | None,
) -> list[Measured]:
    """Measure the remaining batches, divided among processes, and return those of all processes."""
    mine = batches[rank() :: world_size()]
    loader = DataLoader(samples, batch_sampler=mine, num_workers=workers)
    device = device_of(model)
    found: list[Measured] = []
    begin = time.monotonic()
    bar = tqdm(loader, desc="Evaluating", leave=False, disable=None if rank() == 0 else True)
    for positions, (images, labels, index, masks) in zip(mine, bar, strict=True):
        _check(images)
        images = images.to(device)
        if (
            announce
            and not found
            and rank() == 0
            and (cost := announce(model, images, sum(map(len, batches))))
        ):
            bar.set_postfix_str(cost)
            log.info(cost)
        random = SampleRandom(random_seed, tuple(index.tolist()))
        objects = masks.to(device) if masks.numel() else None
        columns = measure(model, images, labels.to(device), random, masks=objects)
        batch = Measured(positions, random.index, {name: v.tolist() for name, v in columns.items()})
        if journal:
            journal.write(batch, digest_of(images, labels))
        if announce and not found:
            seconds = round((len(mine) - 1) * (time.monotonic() - begin))
            log.info("batches left: %d, about %s", len(mine) - 1, datetime.timedelta(seconds=seconds))
        found.append(batch)
    return [batch for part in gather_objects(found) for batch in part]


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
