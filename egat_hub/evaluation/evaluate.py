"""Judge a model on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from egat_hub.core.config import to_dict
from egat_hub.core.results import Outcome, Row
from egat_hub.data import EvaluationView
from egat_hub.evaluation.batch import EvaluationConfig, measure, measure_signs
from egat_hub.evaluation.dataset_pass import judge_by, unwrapped
from egat_hub.evaluation.sanity import control_flags


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
        model: images in [0,1] to logits. A :class:`TimmModel`, or a bare timm network, which is wrapped in
            one, gets all figures; any other module accuracy and robust accuracy only.
        dataset: items are (image [3,H,W] in [0,1], label) or what :class:`EvaluationView` gives.
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
    settings = to_dict(replace(config, batch_size=1))
    shared: dict[str, Any] = {
        "settings": settings,
        "random_seed": config.seed,
        "batch_size": config.batch_size,
        "workers": workers,
        **noted,
    }
    classes = len(dataset.domain.classes) if isinstance(dataset, EvaluationView) else None
    outcomes = judge_by(
        partial(measure, config=config, classes=classes),
        model,
        dataset,
        journal=journal,
        announce=partial(_cost, config=config),
        **shared,
    )
    if config.epsilons and config.checks:
        signs = partial(
            measure_signs, config=config, surrogates=[unwrapped(other)[0] for other in surrogates]
        )
        kept = None if journal is None else Path(journal) / "signs"
        outcomes += judge_by(signs, model, dataset, images=config.checks, journal=kept, **shared)
    return [*outcomes, *control_flags(outcomes)]


def _cost(model: nn.Module, images: Tensor, count: int, *, config: EvaluationConfig) -> str:
    """Passes that the attack takes at most; empty if that is not known."""
    passes = config.build_attack().adapted(model, images).passes if config.epsilons else None
    if passes is None:
        return ""
    most = passes * config.restarts * len(config.epsilons)
    return f"{config.attack}: up to {most:,} passes an image that stands, {most * count:,} in all"
