"""What the columns of a table hold, and the entries that rows make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from egat_hub.experiments.tables.published import Pair, Published
from egat_hub.experiments.tables.table import Better, Entry, Table, mark_best
from egat_hub.results import Row, Summary


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: its heading.
        holds: which rows it summarises.
        published: metric of a published table that stands beside.
        digits: digits shown after the point.
        better: which values are better.
    """

    title: str
    holds: Callable[[Row], bool]
    published: str = ""
    digits: int = 1
    better: Better | None = None


def tabulated(title: str, rows: Sequence[Row], columns: Sequence[Column], published: Published) -> Table:
    """A line for each method: mean and standard deviation over seeds of a seed's mean over domains.

    A seed counts where it has all pairs of domains that any method has. Published figures are averaged over
    the same pairs.
    """
    methods = list(dict.fromkeys(row.method for row in rows))
    table = Table(
        title,
        tuple(column.title for column in columns),
        {method: tuple(_entry(rows, method, column, published) for column in columns) for method in methods},
    )
    return mark_best(table, [column.better for column in columns])


def summarised(rows: Iterable[Row], pairs: int = 1) -> Summary | None:
    """Mean over pairs of domains within a seed, then mean and deviation over the seeds that have them all."""
    by_seed: dict[int, list[float]] = {}
    for row in rows:
        by_seed.setdefault(row.seed, []).append(row.value)
    values = [fmean(found) for found in by_seed.values() if len(found) == pairs]
    return Summary.of(values) if values else None


def _entry(rows: Sequence[Row], method: str, column: Column, published: Published) -> Entry:
    held = [row for row in rows if column.holds(row)]
    pairs: list[Pair] = list(dict.fromkeys((row.train_domain, row.test_domain) for row in held))
    mine = [row for row in held if row.method == method]
    return Entry(
        summarised(mine, len(pairs)),
        published.mean(method, pairs, column.published) if column.published else None,
        suspect=published.suspect(method, pairs),
        digits=column.digits,
    )
