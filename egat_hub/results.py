"""Result rows: the one currency that tables, cards and plots are made of."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured figure with everything needed to know what it means.

    Attributes:
        model: backbone name (``"resnet50"``).
        method: training method (``"egat"``).
        dataset: data set name (``"vlcs"``).
        train_domain: domain the model was trained on.
        test_domain: domain the figure was measured on.
        split: ``"val"`` or ``"test"``.
        metric: ``"cAcc"``, ``"aAcc"``, ``"Comp"`` ... as the table column is called.
        value: the figure; percentages run from 0 to 100.
        n: number of images behind it.
        seed: training seed.
        protocol: what else defines the figure: attack, epsilon, steps; q, fill, class choice.
        selection: the rule that chose the weights among those of a run.
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


class Summary(NamedTuple):
    """Mean and sample standard deviation over ``n`` rows (``sd`` is 0 for a single one)."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Summarise at least one value."""
        return cls(
            statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values)
        )


def summarise(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, Summary]:
    """Group rows by ``key`` and give mean and standard deviation of each group's values."""
    groups: dict[Any, list[float]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row.value)
    return {name: Summary.of(values) for name, values in groups.items()}


def write_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Write rows as a JSON list; the file appears whole or not at all."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    os.replace(partial, path)


def read_rows(path: str | Path) -> list[Row]:
    """Read what :func:`write_rows` wrote.

    Raises:
        ValueError: the file is not a list of rows.
    """
    try:
        return [Row(**item) for item in json.loads(Path(path).read_text())]
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path} does not hold result rows as egat_hub writes them: {error}") from error
