"""Leaderboards: results of many models side by side, made from result rows."""

from __future__ import annotations

import csv
import io
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tabulate import tabulate

from egat_hub.core.results import Row, Summary
from egat_hub.hub.card_tables import protocol_text
from egat_hub.metrics import METRICS, metric_of


class Heading(NamedTuple):
    """What the results of a column have in common."""

    metric: str
    protocol: str = ""
    other_domains: int = 0

    def __str__(self) -> str:
        parts = [metric_of(self.metric).title, self.protocol]
        if self.other_domains:
            parts.append(f"mean of {self.other_domains} other domains")
        return ", ".join(part for part in parts if part)


class Line(NamedTuple):
    """A model, trained on one domain, over its seeds."""

    model: str
    method: str
    network: str
    dataset: str
    train_domain: str
    figures: Mapping[Heading, Summary]


@dataclass(frozen=True)
class Leaderboard:
    """Models, best first.

    Attributes:
        headings: the columns of results.
        lines: the models.
        by: metric that orders them.
    """

    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]
    by: str

    def text(self, *, columns: int = 4) -> str:
        """A table for a terminal of 80 columns: the results that most models have, with a legend."""
        found = {h: sum(h in line.figures for line in self.lines) for h in self.headings}
        first = next((h for h in self.headings if h.metric == self.by), None)
        chosen = sorted(self.headings, key=lambda h: (h != first, -found[h]))[:columns]
        chosen = [heading for heading in self.headings if heading in chosen]
        names = Counter(line.model for line in self.lines)
        rows = [
            (
                rank,
                line.model if names[line.model] == 1 else f"{line.model} {line.method} {line.train_domain}",
                *(_cell(line.figures.get(heading)) for heading in chosen),
            )
            for rank, line in enumerate(self.lines, start=1)
        ]
        marks = [f"[{number}]" for number in range(1, len(chosen) + 1)]
        legend = [
            textwrap.fill(f"{mark} {heading}", 79, subsequent_indent="    ")
            for mark, heading in zip(marks, chosen, strict=True)
        ]
        left = len(self.headings) - len(chosen)
        legend += [f"{left} more columns: --json prints all."] if left else []
        table = tabulate(rows, ("#", "model", *marks), disable_numparse=True)
        return "\n".join([table, "", *legend])

    def markdown(self) -> str:
        """A table in Markdown."""
        fixed = ("#", "model", "method", "backbone", "data set", "trained on")
        cells = [
            [str(rank), *line[:-1], *(_cell(line.figures.get(heading)) for heading in self.headings)]
            for rank, line in enumerate(self.lines, start=1)
        ]
        escaped = [[cell.replace("|", "\\|") for cell in line] for line in cells]
        headers = [*fixed, *map(str, self.headings)]
        return tabulate(escaped, headers, tablefmt="github", disable_numparse=True)

    def csv(self) -> str:
        """Mean, standard deviation and number of seeds of every result, unrounded, as CSV."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        names = [f"{heading}{suffix}" for heading in self.headings for suffix in ("", " (sd)", " (seeds)")]
        writer.writerow([*Line._fields[:-1], *names])
        for line in self.lines:
            found = [line.figures.get(heading) for heading in self.headings]
            writer.writerow([*line[:-1], *(cell for summary in found for cell in summary or ("", "", ""))])
        return stream.getvalue()


def leaderboard(
    results: Mapping[str, Iterable[Row]],
    *,
    metrics: Sequence[str] | None = None,
    by: str = "robust_accuracy",
) -> Leaderboard:
    """Compare results of models.

    Results share a column only if metric and protocol (attack, epsilon, steps, restarts...) are equal. Rows
    of several seeds become mean and standard deviation. Results on other domains than the training domain
    are averaged. Controls of explanations and results on validation images are left out.

    Args:
        results: rows of each model by name; each method and training domain among them gets a line.
        metrics: names of metrics, in that order; default: the headline ones.
        by: metric whose first column orders the models, the best first; models without it come last.

    Raises:
        ValueError: ``by`` is not among the metrics.
        UnknownNameError: there is no metric of that name.
    """
    if metrics is None:
        headlines = (name for name, metric in METRICS.items() if metric.headline)
        metrics = tuple(dict.fromkeys((*headlines, METRICS[by].name)))
    elif by not in metrics:
        raise ValueError(f"Expected by among {', '.join(metrics)}, got {by!r}.")
    lines = [line for name, rows in results.items() for line in _lines(name, rows, metrics)]
    seen = dict.fromkeys(heading for line in lines for heading in line.figures)
    headings = sorted(seen, key=lambda heading: (metrics.index(heading.metric), heading.other_domains))
    key = next((heading for heading in headings if heading.metric == by), None)
    lines.sort(key=lambda line: _order(line, key))
    return Leaderboard(tuple(headings), tuple(lines), by)


def _lines(name: str, rows: Iterable[Row], metrics: Sequence[str]) -> list[Line]:
    made: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        if row.metric in metrics and row.split != "val" and metric_of(row.metric).shows(row.protocol):
            made.setdefault((row.method, row.model, row.dataset, row.train_domain), []).append(row)
    return [
        Line(name, method, network, dataset, domain, _figures(group))
        for (method, network, dataset, domain), group in made.items()
    ]


def _figures(rows: Sequence[Row]) -> dict[Heading, Summary]:
    others = {row.test_domain for row in rows if row.test_domain != row.train_domain}
    by_seed: dict[Heading, dict[int, list[float]]] = {}
    for row in rows:
        away = len(others) if row.test_domain != row.train_domain else 0
        shown = metric_of(row.metric).shown
        protocol = {key: value for key, value in row.protocol.items() if key not in shown}
        heading = Heading(row.metric, protocol_text(protocol), away)
        by_seed.setdefault(heading, {}).setdefault(row.seed, []).append(row.value)
    return {
        heading: Summary.of([sum(values) / len(values) for values in seeds.values()])
        for heading, seeds in by_seed.items()
    }


def _order(line: Line, key: Heading | None) -> tuple[bool, float, str]:
    summary = line.figures.get(key) if key else None
    if key is None or summary is None:
        return True, 0.0, line.model
    return False, summary.mean if metric_of(key.metric).better == "lower" else -summary.mean, line.model


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return "-"
    spread = f" ± {summary.sd:.2f}" if summary.n > 1 else ""
    return f"{summary.mean:.2f}{spread}"
