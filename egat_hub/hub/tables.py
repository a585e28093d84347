"""Result rows as tables: those of a model card, and leaderboards of many models."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tabulate import tabulate

from egat_hub.core.results import Row, Summary
from egat_hub.metrics import METRICS, Section, metric_of

LATENT = Section(
    "Accuracy under unrestricted attack",
    "By the budget of an attack on the latent of a diffusion model; 0 is a mere reconstruction. Pixels are "
    "not bounded, so no value here compares with one at an epsilon in pixels.",
    across="latent_epsilon",
)


class ResultTable(NamedTuple):
    """A heading, what the values mean, and a Markdown table."""

    title: str
    note: str
    table: str


def result_sections(rows: Iterable[Row]) -> list[ResultTable]:
    """One table for each section of metrics; each row appears exactly once."""
    order = {name: place for place, name in enumerate(METRICS)}
    sections: dict[Section, list[Row]] = {}
    for row in sorted(rows, key=lambda row: order.get(row.metric, len(order))):
        sections.setdefault(_section(row), []).append(row)
    return [
        ResultTable(section.title, _note(section, found), _pivot(found, section.across))
        for section, found in sections.items()
    ]


def _section(row: Row) -> Section:
    if row.protocol.get("budget_space") == "latent":
        return LATENT
    section = metric_of(row.metric).section
    elsewhere = row.train_domain and row.test_domain != row.train_domain
    return replace(section, title=f"{section.title} on other domains") if elsewhere else section


def _note(section: Section, rows: Sequence[Row]) -> str:
    meanings = [f"`{name}`: {metric_of(name).meaning}." for name in dict.fromkeys(row.metric for row in rows)]
    return " ".join([section.about, *meanings]).strip()


def settings_table(settings: Mapping[str, Any]) -> str:
    """Nested settings as a Markdown table with dotted names."""
    return markdown_table(("setting", "value"), list(_flatten(settings))) if settings else ""


def summary_table(rows: Sequence[Row]) -> str:
    """Results as a Markdown table with one short line each."""
    lines = [
        (
            metric_of(row.metric).title,
            row.test_domain,
            f"{row.value:.1f}",
            protocol_text({key: row.protocol[key] for key in ("attack", "epsilon") if key in row.protocol}),
        )
        for row in rows
    ]
    return markdown_table(("result", "on", "value", "attack"), lines) if rows else ""


def protocol_text(protocol: Mapping[str, Any]) -> str:
    """A protocol as one line of text."""
    return ", ".join(f"{key} {_text(value)}" for key, value in protocol.items())


def _pivot(rows: Sequence[Row], across: str) -> str:
    """Rows that differ only in ``protocol[across]`` share a line, one column for each of its values."""
    columns = list(dict.fromkeys(row.protocol.get(across) for row in rows))
    if all(isinstance(column, (int, float)) for column in columns):
        columns.sort()
    lines: dict[tuple[str, ...], dict[Any, list[str]]] = {}
    for row in rows:
        others = {key: value for key, value in row.protocol.items() if key != across}
        domains = f"{row.train_domain} -> {row.test_domain}"
        key = (row.metric, domains, row.split, str(row.n), str(row.seed), protocol_text(others))
        column = row.protocol.get(across)
        lines.setdefault(key, {}).setdefault(column, []).append(f"{row.value:.2f}")
    names = ["value" if column is None else f"{across} {_text(column)}" for column in columns]
    return markdown_table(
        ("metric", "train -> test", "split", *names, "n", "seed", "protocol"),
        [
            (*key[:3], *(", ".join(values.get(column, ["-"])) for column in columns), *key[3:])
            for key, values in lines.items()
        ],
    )


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown_table(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown with special characters escaped."""
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return tabulate(escaped, headers, tablefmt="github", disable_numparse=True)


COLUMNS = 4
"""Number of results that fit a terminal."""


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
    """Columns of results, and models with the best first by the metric ``by``."""

    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]
    by: str

    def text(self) -> str:
        """A table for a terminal of 80 columns: the results that most models have, with a legend."""
        found = {h: sum(h in line.figures for line in self.lines) for h in self.headings}
        first = next((h for h in self.headings if h.metric == self.by), None)
        chosen = sorted(self.headings, key=lambda h: (h != first, -found[h]))[:COLUMNS]
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
        return markdown_table([*fixed, *map(str, self.headings)], cells)


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
