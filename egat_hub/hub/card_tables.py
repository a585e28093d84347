"""Result rows as the Markdown tables of a model card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tabulate import tabulate

from egat_hub.core.results import Row
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
    return _markdown(("setting", "value"), list(_flatten(settings))) if settings else ""


def summary_table(rows: Sequence[Row]) -> str:
    """The headline results as a Markdown table with one short line each."""
    lines = [
        (
            metric_of(row.metric).title,
            row.test_domain,
            f"{row.value:.1f}",
            protocol_text({key: row.protocol[key] for key in ("attack", "epsilon") if key in row.protocol}),
        )
        for row in rows
    ]
    return _markdown(("result", "on", "value", "attack"), lines) if rows else ""


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
    return _markdown(
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


def _markdown(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return tabulate(escaped, headers, tablefmt="github", disable_numparse=True)
