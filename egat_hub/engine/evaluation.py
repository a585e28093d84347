"""Judge a model on a data set: one pass, the same figures on any number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from egat_hub.backbone import Backbone
from egat_hub.collective import gather_objects, rank, world_size
from egat_hub.data import EvaluationView
from egat_hub.engine.measuring import Column, EvaluationConfig, measure
from egat_hub.randomness import SampleRandom
from egat_hub.results import Outcome, Row

Sample = tuple[Tensor, int, int]
"""Image [3,H,W] in [0,1], label, index."""


def evaluate(
    model: nn.Module,
    dataset: Dataset | Sequence[tuple[Tensor, int]],
    config: EvaluationConfig | None = None,
    *,
    method: str = "",
    train_domain: str = "",
    seed: int = 0,
    selection: str = "",
    workers: int = 0,
) -> list[Row]:
    """Accuracy, robust accuracy, faithfulness and stability of explanations, as result rows.

    With several processes every one of them calls this function and gets all rows. Batches are cut before
    they are shared out, so their number changes no figure. Everything runs in float32.

    Args:
        model: images in [0,1] to logits. A :class:`Backbone`, or a bare timm network, which is wrapped in
            one, gets all figures; any other module accuracy and robust accuracy only.
        dataset: items are (image [3,H,W] in [0,1], label) or what :class:`EvaluationView` gives.
        config: what to measure.
        method: training method, as noted in the rows.
        train_domain: training domain, as noted in the rows.
        seed: training seed, as noted in the rows.
        selection: the rule that chose the weights, as noted in the rows.
        workers: processes that load images.

    Raises:
        ValueError: the data set is empty, images are not in [0, 1], or labels do not fit the model.
    """
    noted: dict[str, Any] = {
        "method": method,
        "train_domain": train_domain,
        "seed": seed,
        "selection": selection,
    }
    return [outcome.row for outcome in judge(model, dataset, config, workers=workers, **noted)]


def judge(
    model: nn.Module,
    dataset: Dataset | Sequence[tuple[Tensor, int]],
    config: Any = None,
    *,
    workers: int = 0,
    measure: Callable[..., dict[Column, Tensor]] = measure,
    **noted: Any,
) -> list[Outcome]:
    """As :func:`evaluate`, with the value of every image behind each row.

    Args:
        model: as for :func:`evaluate`.
        dataset: as for :func:`evaluate`.
        config: as for :func:`evaluate`; with a ``measure`` of one's own, its configuration, which has a
            ``batch_size`` and a ``seed``.
        workers: as for :func:`evaluate`.
        measure: what is called for every batch, as :func:`egat_hub.engine.measuring.measure` is.
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
    outcomes = []
    for column, values in _measure_all(model, samples, config, workers, measure).items():
        defined = [value for value in values if not math.isnan(value)]
        if defined:
            mean, protocol = math.fsum(defined) / len(defined), dict(column.protocol)
            row = Row(**context, metric=column.metric, value=mean, n=len(defined), protocol=protocol)
            outcomes.append(Outcome(row, values))
    return outcomes


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
            return item["image"], int(item["label"]), int(item["index"])
        return item[0], int(item[1]), position


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
    config: Any,
    workers: int,
    measure: Callable[..., dict[Column, Tensor]],
) -> dict[Column, list[float]]:
    """Values of every column in the order of the images, NaN where one is not defined."""
    batches = torch.arange(len(samples)).split(config.batch_size)
    mine = [batch.tolist() for batch in batches[rank() :: world_size()]]
    loader = DataLoader(samples, batch_sampler=mine, num_workers=workers)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    found: dict[Column, dict[int, float]] = {}
    for images, labels, index in tqdm(loader, desc="Evaluating", leave=False, disable=rank() != 0):
        _check(images)
        columns = measure(
            model,
            images.to(device),
            labels.to(device),
            SampleRandom(config.seed, tuple(index.tolist())),
            config,
        )
        for column, values in columns.items():
            found.setdefault(column, {}).update(zip(index.tolist(), values.tolist(), strict=True))
    return _join(gather_objects(found), len(samples))


def _join(parts: Sequence[dict[Column, dict[int, float]]], count: int) -> dict[Column, list[float]]:
    columns = max(parts, key=len)
    joined = {}
    for column in columns:
        values = {index: value for part in parts for index, value in part.get(column, {}).items()}
        if len(values) != count:
            raise ValueError(f"Expected {count} images with indices of their own, got {len(values)}.")
        joined[column] = [values[i] for i in sorted(values)]
    return joined


def _check(images: Tensor) -> None:
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):  # so that NaN is refused too
        raise ValueError(
            f"Expected images in [0, 1], got values from {low:.3g} to {high:.3g}. Leave normalisation to the "
            "model, so that epsilon is in units of pixels."
        )
