"""Hyperparameter search on validation data, with the same budget for every method."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from egat_hub.core.config import from_dict, to_dict
from egat_hub.core.distributed import rank
from egat_hub.core.files import atomic_write_text
from egat_hub.experiments.config import VARIANTS, RunConfig
from egat_hub.experiments.runner import RunResults
from egat_hub.metrics import metric_of


@dataclass(frozen=True)
class Grid:
    """Values to try, by method and field; the number of settings must be the same for all methods."""

    values: Mapping[str, Mapping[str, Sequence[Any]]]

    def __post_init__(self) -> None:
        sizes = {method: math.prod(map(len, fields.values())) for method, fields in self.values.items()}
        if not sizes or 0 in sizes.values() or len(set(sizes.values())) > 1:
            found = ", ".join(f"{method} {size}" for method, size in sizes.items()) or "nothing"
            raise ValueError(
                f"Expected the same number of settings to try for every method, got {found}. Lengthen the "
                "shorter lists, or leave methods out of the grid to keep their defaults."
            )

    @classmethod
    def read(cls, path: Path) -> Grid:
        """Read ``method: {field: [values]}`` from a YAML file."""
        content = yaml.safe_load(path.read_text())
        valid = isinstance(content, dict) and all(
            isinstance(fields, dict) and fields and all(isinstance(v, list) for v in fields.values())
            for fields in content.values()
        )
        if not valid:
            raise ValueError(f"Expected lines such as 'trades: {{beta: [1, 3, 6]}}' in {path}.")
        return cls(content)

    def trials(self, runs: Sequence[RunConfig], epsilon: float) -> list[RunConfig]:
        """Runs of every combination of values, on all domains with the first seed, evaluated on validation
        data with the attack budget ``epsilon``.

        Raises:
            ValueError: a method that ``runs`` do not have, an unknown field, or a value out of its range.
        """
        first = [run for run in runs if run.seed == runs[0].seed]
        unknown = sorted(set(self.values) - {run.label for run in runs})
        if unknown:
            raise ValueError(
                f"The grid of the search has {', '.join(unknown)}, which --methods does not have."
            )
        return [
            replace(
                run,
                method_config=from_dict(
                    type(run.method_config),
                    {**to_dict(run.method_config), **dict(zip(fields, chosen, strict=True))},
                ),
                evaluation=run.evaluation.accuracy_only(epsilons=(epsilon,)),
                test_domains=(),
                extra_attacks=(),
                split="val",
            )
            for label, fields in self.values.items()
            for chosen in itertools.product(*fields.values())
            for run in first
            if run.label == label
        ]


def choose(
    runs: Sequence[RunConfig],
    trials: Sequence[RunConfig],
    execute: Callable[[Sequence[RunConfig]], list[RunResults]],
    record: Path,
) -> list[RunConfig]:
    """``runs`` with the settings of each method's best trial; variants of EGAT change the chosen EGAT.

    Args:
        runs: runs to choose settings for.
        trials: runs of :meth:`Grid.trials`.
        execute: executes runs and returns the results of those that could be finished.
        record: JSON file to write all trials and the choice to.

    Raises:
        ValueError: no candidate of a method could be trained on every domain.
    """
    found = {results.config.name: results for results in execute(trials)}
    candidates: dict[str, list[RunConfig]] = {}
    for trial in trials:
        candidates.setdefault(f"{trial.label} {to_dict(trial.method_config)}", []).append(trial)
    scored = []
    for mine in candidates.values():
        accuracies = {trial.domain: _accuracies(found.get(trial.name)) for trial in mine}
        scores = [fmean(values.values()) if values else -math.inf for values in accuracies.values()]
        scored.append((fmean(scores), mine[0], accuracies))
    best = {trial.label: (score, trial) for score, trial, _ in sorted(scored, key=lambda item: item[0])}
    failed = sorted(label for label, (score, _) in best.items() if score == -math.inf)
    if failed:
        raise ValueError(
            f"No candidate of {', '.join(failed)} could be trained; change the search or train.lr."
        )
    if rank() == 0:
        content = {
            "rule": "highest mean of clean and robust validation accuracy, averaged over training domains",
            "epsilon": trials[0].evaluation.epsilons[0],
            "seed": trials[0].seed,
            "trials": [
                {
                    "method": trial.label,
                    "config": to_dict(trial.method_config),
                    "score": score if score > -math.inf else None,
                    "validation": accuracies,
                    "chosen": best[trial.label][1] is trial,
                }
                for score, trial, accuracies in scored
            ],
        }
        atomic_write_text(record, json.dumps(content, indent=1) + "\n")
    chosen = {label: trial.method_config for label, (_, trial) in best.items()}
    return [_with_chosen(run, chosen) for run in runs]


def _with_chosen(run: RunConfig, chosen: Mapping[str, Any]) -> RunConfig:
    if run.label in VARIANTS and "egat" in chosen:
        return replace(run, method_config=replace(chosen["egat"], **VARIANTS[run.label]))
    return replace(run, method_config=chosen.get(run.label, run.method_config))


def _accuracies(results: RunResults | None) -> dict[str, float] | None:
    if results is None:
        return None
    return {row.metric: row.value for row in results.rows if metric_of(row.metric).hub_type == "accuracy"}
