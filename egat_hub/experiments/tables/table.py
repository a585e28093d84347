"""A table of summaries, before it is written in any format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from egat_hub.results import Summary

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Entry:
    """One cell of a table.

    Attributes:
        summary: mean, standard deviation and number of runs; None where nothing was measured.
        published: the figure of a paper.
        suspect: whether there is reason to doubt the published figure.
        best: whether it leads its column by more than the spread.
        digits: digits shown after the point.
    """

    summary: Summary | None = None
    published: float | None = None
    suspect: bool = False
    best: bool = False
    digits: int = 1


@dataclass(frozen=True)
class Table:
    """Lines of entries under a title.

    Attributes:
        title: what the table is about.
        columns: titles of the columns, without the one that names the lines.
        lines: entries by the name of the line.
    """

    title: str
    columns: tuple[str, ...]
    lines: Mapping[str, tuple[Entry, ...]]


def mark_best(table: Table, better: Sequence[Better | None]) -> Table:
    """The table with the best entry of a column marked, where it leads by more than the spread.

    It leads if its distance to the runner-up exceeds the larger of the two standard deviations, both over at
    least two runs.

    Args:
        table: what to mark.
        better: for every column, which values are better, or None for a column without a best.
    """
    lines = {name: list(entries) for name, entries in table.lines.items()}
    for position, direction in enumerate(better):
        sign = {"higher": 1, "lower": -1, None: 0}[direction]
        known = [
            (sign * entry.summary.mean, entry.summary, name)
            for name, entries in lines.items()
            if sign and (entry := entries[position]).summary
        ]
        if len(known) < 2:
            continue
        (first, leader, name), (second, follower, _) = sorted(known, key=lambda item: -item[0])[:2]
        if min(leader.n, follower.n) > 1 and first - second > max(leader.sd, follower.sd):
            lines[name][position] = replace(lines[name][position], best=True)
    return replace(table, lines={name: tuple(entries) for name, entries in lines.items()})
