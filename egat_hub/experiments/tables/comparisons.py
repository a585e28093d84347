"""Tables that compare methods: in and out of domain, by explanation metrics, and on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, pvariance

import numpy as np

from egat_hub.core.results import Outcome, Row, Summary
from egat_hub.experiments.tables.columns import attacked_titles, attempt_of, by_budget, columns_of, headline
from egat_hub.experiments.tables.table import Column, Entry, Published, Table, heading, tabulated
from egat_hub.metrics import METRICS, Metric, metric_of, paired_bootstrap

AVERAGE = "average"


def in_domain(rows: Sequence[Row], published: Published, epsilon: float | None = None) -> Iterator[Table]:
    """A table for each training domain, and one for their average (Tables I and IV of the EGAT paper).

    Args:
        rows: rows of one data set and one network.
        published: values of a paper on the same data set.
        epsilon: budget of published robust accuracy; by default the smallest.
    """
    rows = headline(rows)
    shown = [metric for metric in METRICS.values() if metric.table == "results"]
    columns = [column for metric in shown for column in columns_of(metric, rows, epsilon)]
    columns += map(_out_of_domain_column, shown)
    columns = [column for column in columns if any(map(column.holds, rows))]
    domains = list(dict.fromkeys(row.train_domain for row in rows))
    for domain in [*domains, *([AVERAGE] if len(domains) > 1 else [])]:
        n = next((row.n for row in rows if row.train_domain == row.test_domain == domain), None)
        images = f", n = {n} test images" if n else ""
        title = f"{rows[0].model}, {rows[0].dataset}, trained on {domain}{images}"
        mine = [row for row in rows if domain in (AVERAGE, row.train_domain)]
        yield tabulated(title, mine, columns, published)


def _out_of_domain_column(metric: Metric) -> Column:
    def holds(row: Row) -> bool:
        return row.metric == metric.name and row.test_domain != row.train_domain

    return Column(f"{heading(metric.name)} OOD", holds, metric.name, better=metric.better)


def out_of_domain(rows: Sequence[Row], published: Published) -> Iterator[Table]:
    """Accuracy on other domains by training domain, and ranks of the methods (Table II of the EGAT paper)."""
    rows = [row for row in rows if row.metric == "clean_accuracy" and row.train_domain != row.test_domain]
    for domain in dict.fromkeys(row.train_domain for row in rows):
        mine = [row for row in rows if row.train_domain == domain]
        columns = [_test_column(test) for test in dict.fromkeys(row.test_domain for row in mine)]
        title = f"{mine[0].model}, {mine[0].dataset}, trained on {domain}: accuracy elsewhere"
        yield tabulated(title, mine, columns, published)
    if len({row.method for row in rows}) > 1:
        yield _rank_table(rows, published)


def _test_column(domain: str) -> Column:
    return Column(f"-> {domain}", lambda row: row.test_domain == domain, "clean_accuracy", better="higher")


def ranks(values: Mapping[str, float]) -> dict[str, float]:
    """Rank of each name, 1 for the largest value; ties get their mean rank."""
    ordered = sorted(values.values(), reverse=True)
    return {
        name: fmean(place for place, other in enumerate(ordered, start=1) if other == value)
        for name, value in values.items()
    }


def _rank_table(rows: Sequence[Row], published: Published) -> Table:
    """Mean and variance of ranks, over the seeds that all methods have."""
    pairs = list(dict.fromkeys((row.train_domain, row.test_domain) for row in rows))
    found: dict[str, list[float]] = {row.method: [] for row in rows}
    for pair in pairs:
        held = [row for row in rows if (row.train_domain, row.test_domain) == pair]
        seeds = set.intersection(*({row.seed for row in held if row.method == m} for m in found))
        if seeds:
            means = {m: fmean(r.value for r in held if r.method == m and r.seed in seeds) for m in found}
            for method, rank in ranks(means).items():
                found[method].append(rank)
    lines = {
        method: (
            Entry(Summary.of([fmean(mine)]), published.mean(method, pairs, "rank"), digits=2),
            Entry(Summary.of([pvariance(mine)]) if len(mine) > 1 else None, digits=2),
        )
        for method, mine in found.items()
        if mine
    }
    return Table(
        f"{rows[0].model}, {rows[0].dataset}: ranks among {len(found)} methods over {len(pairs)} pairs of "
        "domains, 1 is best",
        ("mean rank", "variance"),
        lines,
    )


def explanations(rows: Sequence[Row]) -> Iterator[Table]:
    """Tables of explanation metrics for each training domain, with a column for every measure of agreement.

    Controls are random maps for metrics of the model, and a Gaussian in the centre for localization.

    Args:
        rows: rows of one data set and one network.
    """
    rows = headline(rows)
    tables: dict[str, list[Column]] = {}
    for metric in METRICS.values():
        if metric.table not in ("", "results"):
            tables.setdefault(metric.table, []).extend(columns_of(metric, rows))
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


def differences(outcomes: Sequence[Outcome], reference: str) -> Iterator[Table]:
    """For each training domain, clean and robust accuracy of ``reference`` minus that of every other method.

    Values of an image are averaged over the seeds that both methods have. Intervals are from a paired
    bootstrap over test images and do not cover other seeds.
    """
    for domain in dict.fromkeys(outcome.row.train_domain for outcome in outcomes):
        mine = [o for o in outcomes if o.row.train_domain == o.row.test_domain == domain]
        found = _by_metric(mine)
        methods = list(dict.fromkeys(method for method, _ in found))
        titles = list(dict.fromkeys(title for _, title in found))
        lines = {}
        for method in methods:
            if method != reference:
                entries: list[Entry] = []
                for title in titles:
                    entries += _compared(found.get((reference, title), {}), found.get((method, title), {}))
                lines[f"{reference} - {method}"] = tuple(entries)
        columns = tuple(f"{title}{part}" for title in titles for part in ("", " from", " to"))
        if lines and reference in methods:
            row = mine[0].row
            yield Table(f"{row.model}, {row.dataset}, trained on {domain}, n = {row.n}", columns, lines)


def _by_metric(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], dict[int, Sequence[float]]]:
    """Values of images by (method, metric) and seed."""
    titles = attacked_titles(row for row, _ in outcomes)
    found: dict[tuple[str, str], dict[int, Sequence[float]]] = {}
    for row, values in outcomes:
        if metric_of(row.metric).hub_type == "accuracy":
            title = titles[attempt_of(row)] if by_budget(row) else heading(row.metric)
            found.setdefault((row.method, title), {})[row.seed] = values
    return found


def _compared(first: Mapping[int, Sequence[float]], second: Mapping[int, Sequence[float]]) -> list[Entry]:
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return [Entry()] * 3
    averages = [np.mean([values[seed] for seed in seeds], axis=0) for values in (first, second)]
    return [Entry(Summary.of([value])) for value in paired_bootstrap(*averages)]
