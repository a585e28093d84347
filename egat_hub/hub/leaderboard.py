"""A leaderboard: measured figures of many models side by side, made from result rows and nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tabulate import tabulate

from egat_hub.core.results import Row, Summary
from egat_hub.hub.card_tables import protocol_text
from egat_hub.metrics import METRICS, metric_of


class Heading(NamedTuple):
    """What the figures of a column have in common; only such figures may be compared."""

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
        headings: the columns of figures.
        lines: the models.
    """

    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]

    def text(self) -> str:
        """A table for the terminal."""
        return self._table("simple")

    def markdown(self) -> str:
        """A table in Markdown."""
        return self._table("github")

    def csv(self) -> str:
        """Mean, standard deviation and number of seeds of every figure, unrounded."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        names = [f"{heading}{suffix}" for heading in self.headings for suffix in ("", " (sd)", " (seeds)")]
        writer.writerow([*Line._fields[:-1], *names])
        for line in self.lines:
            found = [line.figures.get(heading) for heading in self.headings]
            writer.writerow([*line[:-1], *(cell for summary in found for cell in summary or ("", "", ""))])
        return stream.getvalue()

    def _table(self, style: str) -> str:
        fixed = ("#", "model", "method", "backbone", "data set", "trained on")
        cells = [
            [str(rank), *line[:-1], *(_cell(line.figures.get(heading)) for heading in self.headings)]
            for rank, line in enumerate(self.lines, start=1)
        ]
        if style == "github":
            cells = [[cell.replace("|", "\\|") for cell in line] for line in cells]
        return tabulate(cells, [*fixed, *map(str, self.headings)], tablefmt=style, disable_numparse=True)


def leaderboard(
    results: Mapping[str, Iterable[Row]],
    *,
    metrics: Sequence[str] | None = None,
    by: str = "robust_accuracy",
) -> Leaderboard:
    """Put models side by side.

    Figures stand in one column only if they were measured alike: metric and protocol (attack, epsilon, steps,
    restarts; q and fill) are equal. Rows of several seeds become a mean and its standard deviation. Accuracy
    on other domains than the training domain is averaged over them. Controls of explanations, and figures on
    validation images, are left out.

    Args:
        results: rows of each model by the name that the table gives it; rows of several methods or training
            domains become a line each.
        metrics: names of metrics, in that order; by default the headline ones.
        by: the metric to order by, the best first; its first column decides, and models without it come last.

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
    return Leaderboard(tuple(headings), tuple(sorted(lines, key=lambda line: _order(line, key))))


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
