"""Result rows, from which tables, cards and plots are made."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from egat_hub.core.files import atomic_write_text


@dataclasses.dataclass(frozen=True)
class Row:
    """A measured value with its protocol.

    Attributes:
        model: backbone name (``"resnet50"``).
        method: training method (``"egat"``).
        dataset: data set name (``"vlcs"``).
        train_domain: domain the model was trained on.
        test_domain: domain of the images.
        split: ``"val"`` or ``"test"``.
        metric: ``"clean_accuracy"``, ``"robust_accuracy"``, ``"comprehensiveness"`` ...
        value: the value; percentages are from 0 to 100.
        n: number of images.
        seed: training seed.
        protocol: settings of the measurement: attack, epsilon, steps; q, fill, class.
        selection: rule that selected the weights of the run.
    """

    model: str
    method: str
    dataset: str
    train_domain: str
    test_domain: str
    split: str
    metric: str
    value: float
    n: int
    seed: int
    protocol: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    selection: str = ""


SANITY_CHECK = "sanity_check"
"""Metric of sanity checks: ``protocol["check"]`` names it; a value above ``protocol["limit"]`` fails it."""


def failed_checks(rows: Iterable[Row]) -> list[Row]:
    """The sanity checks whose value is above their limit."""
    return [row for row in rows if row.metric == SANITY_CHECK and row.value > row.protocol["limit"]]


class Outcome(NamedTuple):
    """A row, and the values of single images that it is the mean of, NaN where undefined."""

    row: Row
    values: Sequence[float]


class Summary(NamedTuple):
    """Mean and sample standard deviation over ``n`` rows (``sd`` is 0 for one row)."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Summarize at least one value."""
        sd = statistics.stdev(values) if len(values) > 1 else 0.0
        return cls(statistics.fmean(values), sd, len(values))


def write_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Write rows as a JSON list, atomically."""
    atomic_write_text(Path(path), json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")


def read_rows(path: str | Path) -> list[Row]:
    """Read rows of this machine, of any number; ValueError if the file holds anything else."""
    try:
        return [Row(**item) for item in json.loads(Path(path).read_text())]
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path} does not hold result rows as egat_hub writes them: {error}") from error


def write_outcomes(path: str | Path, outcomes: Iterable[Outcome]) -> None:
    """Write rows with the values of their images, to 6 digits, one line each, atomically."""
    lines = [
        json.dumps({"row": dataclasses.asdict(row), "values": [_rounded(value) for value in values]})
        for row, values in outcomes
    ]
    atomic_write_text(Path(path), "\n".join(lines) + "\n")


def read_outcomes(path: str | Path) -> list[Outcome]:
    """Read what :func:`write_outcomes` wrote; ValueError if the file holds anything else."""
    try:
        lines = map(json.loads, Path(path).read_text().splitlines())
        return [Outcome(Row(**x["row"]), [math.nan if v is None else v for v in x["values"]]) for x in lines]
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise ValueError(f"{path} does not hold outcomes as egat_hub writes them: {error}") from error


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.6g}")
