"""Tables of rows: entries, columns, formats."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from tabulate import tabulate

from egat_hub.core.files import atomic_write_text
from egat_hub.core.metric import Better, metric_of
from egat_hub.core.results import Row, Summary

PAPER = {
    "clean_accuracy": "cAcc",
    "robust_accuracy": "aAcc",
    "mean_corruption_accuracy": "mCA",
    "comprehensiveness": "Comp",
    "sufficiency": "Suff",
}
"""Metrics and their abbreviations in the EGAT paper."""


def heading(metric: str) -> str:
    """Heading of a metric's column: the paper's abbreviation, else its title."""
    return PAPER.get(metric) or metric_of(metric).title


@dataclass(frozen=True)
class Entry:
    """An entry of a table.

    Attributes:
        summary: mean, standard deviation and number of runs; None if not measured.
        published: value in a paper.
        suspect: whether the published value is doubtful.
        best: whether it leads its column by more than the spread.
        digits: digits after the decimal point.
    """

    summary: Summary | None = None
    published: float | None = None
    suspect: bool = False
    best: bool = False
    digits: int = 1


@dataclass(frozen=True)
class Table:
    """A title, titles of columns without that of the names, and entries by name of the line."""

    title: str
    columns: tuple[str, ...]
    lines: Mapping[str, tuple[Entry, ...]]

    @property
    def entries(self) -> list[Entry]:
        """All entries."""
        return [entry for line in self.lines.values() for entry in line]


def mark_best(table: Table, better: Sequence[Better | None]) -> Table:
    """Mark the best entry of each column, if it leads by more than the spread.

    It must lead the second by more than both standard deviations, each over at least two runs.

    Args:
        table: table to mark.
        better: for every column, which values are better, or None.
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


Pair = tuple[str, str]
"""Training domain and test domain."""


@dataclass(frozen=True)
class Published:
    """Published values by method, training domain, test domain and metric."""

    values: Mapping[tuple[str, str, str, str], float] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: Iterable[Path], dataset: str) -> Published:
        """Values of a data set in CSV files (dataset, method, train_domain, test_domain, metric, value)."""
        names = {title: metric for metric, title in PAPER.items()}
        values = {}
        for path in paths:
            for line in csv.DictReader(path.read_text().splitlines()):
                if line["dataset"] == dataset:
                    metric = names.get(line["metric"], line["metric"])
                    key = (line["method"], line["train_domain"], line["test_domain"], metric)
                    values[key] = float(line["value"])
        return cls(values)

    def mean(self, method: str, pairs: Sequence[Pair], metric: str) -> float | None:
        """Mean over pairs of domains, or None if one of them has no value."""
        keys = [(method, *pair, metric) for pair in pairs]
        return fmean(self.values[key] for key in keys) if keys and self.values.keys() >= {*keys} else None

    def suspect(self, method: str, pairs: Iterable[Pair]) -> bool:
        """Whether an accuracy is equal with training and test domain exchanged.

        This is unlikely for two networks trained separately. Table II of the EGAT paper has six such values
        of DRE and six of SGDrop, and none of other methods.
        """
        return any(
            train != test
            and (value := self.values.get((method, train, test, "clean_accuracy"))) is not None
            and value == self.values.get((method, test, train, "clean_accuracy"))
            for train, test in pairs
        )


class Column(NamedTuple):
    """A column of a table; ``columns`` makes them from the metric records.

    Attributes:
        title: the heading.
        holds: whether a row belongs to the column.
        published: the published metric to show beside it.
        digits: decimal places.
        better: which values are better; None for neither.
    """

    title: str
    holds: Callable[[Row], bool]
    published: str = ""
    digits: int = 1
    better: Better | None = None


def tabulated(title: str, rows: Sequence[Row], columns: Sequence[Column], published: Published) -> Table:
    """A line for each method: mean and standard deviation over seeds of the mean over domains.

    Only seeds with all pairs of domains count. Published values are averaged over the same pairs.
    """
    lines = {
        method: tuple(_column_entry(rows, method, column, published) for column in columns)
        for method in dict.fromkeys(row.method for row in rows)
    }
    table = Table(title, tuple(column.title for column in columns), lines)
    return mark_best(table, [column.better for column in columns])


def _column_entry(rows: Sequence[Row], method: str, column: Column, published: Published) -> Entry:
    held = [row for row in rows if column.holds(row)]
    pairs = list(dict.fromkeys((row.train_domain, row.test_domain) for row in held))
    by_seed: dict[int, list[float]] = {}
    for row in held:
        if row.method == method:
            by_seed.setdefault(row.seed, []).append(row.value)
    means = [fmean(values) for values in by_seed.values() if len(values) == len(pairs)]
    return Entry(
        Summary.of(means) if means else None,
        published.mean(method, pairs, column.published) if column.published else None,
        suspect=published.suspect(method, pairs),
        digits=column.digits,
    )


LINE = "method"


def markdown(table: Table) -> str:
    """A Markdown table; ``**best**``, ``[published]``, ``[suspect?]``."""
    lines = _lines(table, "{} ± {}", "**{}**")
    return tabulate(lines, [LINE, *table.columns], "github", disable_numparse=True)


def latex(table: Table) -> str:
    """A LaTeX tabular for the booktabs package; best in bold, published values in brackets."""
    titles = [_escaped(title) for title in (LINE, *table.columns)]
    lines = [[_escaped(name), *entries] for name, *entries in _lines(table, "{} $\\pm$ {}", "\\textbf{{{}}}")]
    body = tabulate(lines, titles, "latex_raw", disable_numparse=True)
    rules = iter(("\\toprule", "\\midrule", "\\bottomrule"))
    body = "\n".join(next(rules) if line == "\\hline" else line for line in body.splitlines())
    caption = f"\\caption{{{_escaped(table.title)}}}"
    return f"\\begin{{table}}\n\\centering\n{caption}\n{body}\n\\end{{table}}\n"


def to_csv(tables: Iterable[Table]) -> str:
    """CSV with one line per entry."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["table", LINE, "column", "mean", "sd", "n", "published", "suspect", "best"])
    for table in tables:
        for name, entries in table.lines.items():
            for column, entry in zip(table.columns, entries, strict=True):
                if entry.summary or entry.published is not None:
                    mean, sd, n = entry.summary or ("", "", 0)
                    measured = mean, sd if n > 1 else "", n
                    published = "" if entry.published is None else entry.published
                    flags = int(entry.suspect), int(entry.best)
                    writer.writerow([table.title, name, column, *measured, published, *flags])
    return text.getvalue()


def write_tables(folder: Path, name: str, text: str, tables: Sequence[Table]) -> None:
    """Write ``<name>.md``, which is ``text``, and the tables as ``<name>.tex`` and ``<name>.csv``."""
    atomic_write_text(folder / f"{name}.md", text)
    atomic_write_text(folder / f"{name}.tex", "\n".join(map(latex, tables)))
    atomic_write_text(folder / f"{name}.csv", to_csv(tables))


def _lines(table: Table, spread: str, bold: str) -> list[list[str]]:
    most = max((entry.summary.n for entry in table.entries if entry.summary), default=0)

    def written(entry: Entry) -> str:
        fewer = f" (n={entry.summary.n})" if entry.summary and entry.summary.n < most else ""
        return _entry(entry, spread, bold) + fewer

    return [[name, *map(written, entries)] for name, entries in table.lines.items()]


def _entry(entry: Entry, spread: str, bold: str) -> str:
    def shown(value: float) -> str:
        return f"{value:.{entry.digits}f}"

    if entry.summary is None:
        text = "-"
    elif entry.summary.n > 1:
        text = spread.format(shown(entry.summary.mean), shown(entry.summary.sd))
    else:
        text = shown(entry.summary.mean)
    text = bold.format(text) if entry.best else text
    if entry.published is not None:
        text += f" [{shown(entry.published)}{'?' if entry.suspect else ''}]"
    return text


def _escaped(text: str) -> str:
    return re.sub(r"([&%_#])", r"\\\1", text).replace("->", "$\\to$")
