"""Trained on one domain, tested on the others: Table II of the EGAT paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pvariance

from egat_hub.core.results import Row, Summary
from egat_hub.experiments.tables.table import Column, Entry, Pair, Published, Table, tabulated


def out_of_domain(rows: Sequence[Row], published: Published) -> list[Table]:
    """A table of accuracies for each training domain, and the ranks of the methods over all of them."""
    rows = [row for row in rows if row.metric == "clean_accuracy" and row.train_domain != row.test_domain]
    tables = []
    for domain in dict.fromkeys(row.train_domain for row in rows):
        mine = [row for row in rows if row.train_domain == domain]
        tests = dict.fromkeys(row.test_domain for row in mine)
        columns = [
            Column(f"-> {test}", _tested_on(test), "clean_accuracy", better="higher") for test in tests
        ]
        title = f"{mine[0].model}, {mine[0].dataset}, trained on {domain}: accuracy elsewhere"
        tables.append(tabulated(title, mine, columns, published))
    return [*tables, _rank_table(rows, published)] if len({row.method for row in rows}) > 1 else tables


def ranks(values: Mapping[str, float]) -> dict[str, float]:
    """Rank of each name, 1 for the largest value; ties get their mean rank."""
    ordered = sorted(values.values(), reverse=True)
    return {
        name: fmean(place for place, other in enumerate(ordered, start=1) if other == value)
        for name, value in values.items()
    }


def _rank_table(rows: Sequence[Row], published: Published) -> Table:
    """Mean and variance of ranks, over the seeds that all methods have."""
    pairs: list[Pair] = list(dict.fromkeys((row.train_domain, row.test_domain) for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    found: dict[str, list[float]] = {method: [] for method in methods}
    for pair in pairs:
        held = [row for row in rows if (row.train_domain, row.test_domain) == pair]
        seeds = set.intersection(*({row.seed for row in held if row.method == m} for m in methods))
        if seeds:
            means = {m: fmean(r.value for r in held if r.method == m and r.seed in seeds) for m in methods}
            for method, rank in ranks(means).items():
                found[method].append(rank)
    lines = {
        method: (
            Entry(_single(fmean(found[method])), published.mean(method, pairs, "rank"), digits=2),
            Entry(_single(pvariance(found[method])) if len(found[method]) > 1 else None, digits=2),
        )
        for method in methods
        if found[method]
    }
    return Table(
        f"{rows[0].model}, {rows[0].dataset}: ranks among {len(methods)} methods over {len(pairs)} pairs of "
        "domains, 1 is best",
        ("mean rank", "variance"),
        lines,
    )


def _single(value: float) -> Summary:
    return Summary(value, 0.0, 1)


def _tested_on(domain: str) -> Callable[[Row], bool]:
    return lambda row: row.test_domain == domain
