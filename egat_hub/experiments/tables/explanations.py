"""Tables of explanation metrics, beyond the columns of the paper's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from egat_hub.core.results import Row
from egat_hub.experiments.tables.in_domain import columns_of, headline
from egat_hub.experiments.tables.table import Column, Published, Table, tabulated
from egat_hub.metrics import METRICS, Metric


def explanations(rows: Sequence[Row]) -> Iterator[Table]:
    """Tables of explanation metrics for each training domain, with a column for every measure of agreement.

    Controls are random maps for metrics of the model, and a Gaussian in the centre for localization.

    Args:
        rows: rows of one data set and one network.
    """
    rows = headline(rows)
    names = dict.fromkeys(metric.table for metric in METRICS.values() if metric.table not in ("", "results"))
    tables = {
        name: [column for m in METRICS.values() if m.table == name for column in columns_of(m, rows)]
        for name in names
    }
    for metric in METRICS.values():
        if "measure" in metric.shown:
            tables[metric.section.title.lower()] = list(_measures(metric, rows))
    for domain in dict.fromkeys(row.train_domain for row in rows):
        mine = [row for row in rows if row.train_domain == row.test_domain == domain]
        for name, columns in tables.items():
            measured = [column for column in columns if any(map(column.holds, mine))]
            if measured:
                title = f"{mine[0].model}, {mine[0].dataset}, trained on {domain}: {name}"
                yield tabulated(title, mine, measured, Published())


def _measures(metric: Metric, rows: Sequence[Row]) -> Iterator[Column]:
    """All measures of agreement; the main one also for unchanged and flipped predictions."""
    found = [row.protocol for row in rows if row.metric == metric.name]
    main = metric.shown["measure"]
    splits = [(measure, None) for measure in dict.fromkeys(protocol["measure"] for protocol in found)]
    splits += [
        (main, kept) for kept in dict.fromkeys(protocol.get("prediction") for protocol in found) if kept
    ]
    for measure, kept in splits:
        one = replace(metric, shown={"measure": measure, "prediction": kept})
        for column in columns_of(one, rows):
            better = None if kept else metric.better
            yield column._replace(title=f"{measure} {kept or ''}".rstrip(), published="", better=better)
