"""Settings chosen on validation data from a given grid, with the same budget for every method."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from accelerate import PartialState

from egat_hub.core.config import from_dict, to_dict
from egat_hub.core.files import atomic_write_text
from egat_hub.experiments.cell import Bench, Cell
from egat_hub.experiments.sharing import complete_all
from egat_hub.experiments.variants import Variant
from egat_hub.methods import MethodConfig

RULE = "highest mean of clean and robust validation accuracy, averaged over training domains"


@dataclass(frozen=True)
class Grid:
    """Values to try of the fields of some methods.

    Attributes:
        values: lists of values by field, by method.

    Raises:
        ValueError: no values, or methods that would try different numbers of settings.
    """

    values: Mapping[str, Mapping[str, Sequence[Any]]]

    def __post_init__(self) -> None:
        sizes = {method: math.prod(map(len, fields.values())) for method, fields in self.values.items()}
        if not sizes or 0 in sizes.values() or len(set(sizes.values())) > 1:
            found = ", ".join(f"{method} {size}" for method, size in sizes.items()) or "nothing"
            raise ValueError(
                f"A search gives every method the same number of settings to try, got {found}. Lengthen the "
                "shorter lists, or leave methods out of the grid to keep their defaults."
            )

    @classmethod
    def read(cls, path: Path) -> Grid:
        """Read ``method: {field: [values]}`` from a YAML file.

        Raises:
            OSError: the file cannot be read.
            ValueError: it holds something else, or no fair grid.
        """
        content = yaml.safe_load(path.read_text())
        fair = isinstance(content, dict) and all(
            isinstance(fields, dict) and fields and all(isinstance(v, list) for v in fields.values())
            for fields in content.values()
        )
        if not fair:
            raise ValueError(f"Expected lines such as 'trades: {{beta: [1, 3, 6]}}' in {path}.")
        return cls(content)

    def candidates(self, variants: Sequence[Variant]) -> list[Variant]:
        """Every combination of values for every method of the grid.

        Raises:
            ValueError: a method that is not among ``variants``, a field that it does not have, or a value
                out of its range.
        """
        base = {variant.name: variant for variant in variants}
        unknown = [name for name in self.values if name not in base]
        if unknown:
            raise ValueError(f"The grid of the search names {', '.join(unknown)}, which --methods does not.")
        return [
            replace(base[name], config=_changed(base[name].config, dict(zip(fields, chosen, strict=True))))
            for name, fields in self.values.items()
            for chosen in itertools.product(*fields.values())
        ]


def _changed(config: MethodConfig, values: Mapping[str, Any]) -> MethodConfig:
    return from_dict(type(config), {**to_dict(config), **values})


@dataclass(frozen=True)
class Trial:
    """A candidate and its runs, one for each training domain."""

    candidate: Variant
    cells: tuple[Cell, ...]


def choose(bench: Bench, trials: Sequence[Trial], *, epsilon: float) -> dict[str, Variant]:
    """Run the trials that nobody else is at; of every method the best candidate, once all trials are done.

    All trials and the choice are kept in ``search.json``.

    Args:
        bench: where cells are trained.
        trials: candidates; those of one name compete.
        epsilon: radius of the attack on validation images.

    Returns:
        The chosen ones by name.

    Raises:
        ValueError: no candidate of a method could be trained in every domain.
    """
    runs = [cell for trial in trials for cell in trial.cells]
    complete_all(
        bench, runs, partial(bench.is_validated, epsilon=epsilon), partial(bench.validate, epsilon=epsilon)
    )
    scored = []
    for trial in trials:
        found = {cell.domain: bench.validation(cell, epsilon) for cell in trial.cells}
        scores = [fmean(figures.values()) if figures else -math.inf for figures in found.values()]
        scored.append((fmean(scores), trial, found))
    best = {trial.candidate.name: trial for _, trial, _ in sorted(scored, key=lambda item: item[0])}
    failed = best.keys() - {trial.candidate.name for score, trial, _ in scored if score > -math.inf}
    if failed:
        raise ValueError(
            f"No candidate of {', '.join(sorted(failed))} could be trained; change the search or train.lr."
        )
    if PartialState().is_main_process:
        record = {
            "rule": RULE,
            "epsilon": epsilon,
            "seed": runs[0].seed,
            "trials": [
                {
                    "method": trial.candidate.name,
                    "config": to_dict(trial.candidate.config),
                    "score": score if score > -math.inf else None,
                    "validation": found,
                    "chosen": best[trial.candidate.name] is trial,
                }
                for score, trial, found in scored
            ],
        }
        atomic_write_text(bench.output / "search.json", json.dumps(record, indent=1) + "\n")
    return {name: trial.candidate for name, trial in best.items()}
