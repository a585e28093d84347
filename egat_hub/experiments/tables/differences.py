"""Differences between methods on the same test images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from egat_hub.core.results import Outcome, Summary
from egat_hub.experiments.tables.in_domain import attacked_titles, attempt_of, by_budget
from egat_hub.experiments.tables.table import Entry, Table, heading
from egat_hub.metrics import metric_of, paired_bootstrap


def differences(outcomes: Sequence[Outcome], reference: str) -> list[Table]:
    """For each training domain, clean and robust accuracy of ``reference`` minus that of every other method.

    Values of an image are averaged over the seeds that both methods have. Intervals are from a paired
    bootstrap over test images and do not cover other seeds.
    """
    tables = []
    for domain in dict.fromkeys(outcome.row.train_domain for outcome in outcomes):
        mine = [o for o in outcomes if o.row.train_domain == o.row.test_domain == domain]
        found = _by_metric(mine)
        titles = list(dict.fromkeys(title for _, title in found))
        others = [m for m in dict.fromkeys(method for method, _ in found) if m != reference]
        lines = {}
        for method in others:
            entries: list[Entry] = []
            for title in titles:
                entries += _compared(found.get((reference, title), {}), found.get((method, title), {}))
            lines[f"{reference} - {method}"] = tuple(entries)
        columns = tuple(f"{title}{part}" for title in titles for part in ("", " from", " to"))
        if lines and any(method == reference for method, _ in found):
            row = mine[0].row
            tables.append(
                Table(f"{row.model}, {row.dataset}, trained on {domain}, n = {row.n}", columns, lines)
            )
    return tables


def _by_metric(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], dict[int, Sequence[float]]]:
    """Values of images by (method, metric) and seed."""
    titles = attacked_titles(row for row, _ in outcomes)
    found: dict[tuple[str, str], dict[int, Sequence[float]]] = {}
    for row, values in outcomes:
        if metric_of(row.metric).hub_type == "accuracy":
            title = titles[attempt_of(row)] if by_budget(row) else heading(row.metric)
            found.setdefault((row.method, title), {})[row.seed] = values
    return found


def _compared(first: dict[int, Sequence[float]], second: dict[int, Sequence[float]]) -> list[Entry]:
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return [Entry()] * 3
    averages = [np.mean([values[seed] for seed in seeds], axis=0) for values in (first, second)]
    return [Entry(Summary(value, 0.0, 1)) for value in paired_bootstrap(*averages)]
