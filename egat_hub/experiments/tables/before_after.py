"""A model before and after fine-tuning, on its old and its new domain."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tabulate import tabulate

from egat_hub.core.results import Row
from egat_hub.experiments.tables.columns import headline
from egat_hub.hub.tables import protocol_text
from egat_hub.metrics import METRICS, metric_of


@dataclass(frozen=True)
class Line:
    """The model before or after fine-tuning on the old or the new domain: its rows, or why there are none."""

    model: Literal["before", "after"]
    domain: Literal["old", "new"]
    images: str
    rows: Sequence[Row] = ()
    missing: str = ""

    @property
    def results(self) -> dict[str, Row]:
        """The row of each headline metric; of several settings, the first."""
        found: dict[str, Row] = {}
        for row in headline(self.rows):
            if metric_of(row.metric).headline and metric_of(row.metric).shows(row.protocol):
                found.setdefault(row.metric, row)
        return {name: found[name] for name in METRICS if name in found}

    @property
    def n(self) -> int | None:
        """Number of images, if anything was measured."""
        return next((row.n for row in self.results.values()), None)


@dataclass(frozen=True)
class BeforeAfter:
    """The four lines of the table, before and after on the old and on the new domain, and notes."""

    lines: tuple[Line, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that any line has."""
        return [name for name in METRICS if any(name in line.results for line in self.lines)]

    def markdown(self) -> str:
        """The table, what its columns mean, and why some results are missing."""
        names = self.metrics
        columns = ("model", "domain", "images", *(metric_of(name).title for name in names), "n")
        lines = [_shown(line, names) for line in self.lines]
        table = tabulate(lines, columns, "github", disable_numparse=True)
        missing = dict.fromkeys(
            f"{line.model} on the {line.domain} domain: {line.missing}" for line in self.lines if line.missing
        )
        notes = [*_meaning(self.lines, names), *missing, *self.notes]
        return "\n".join([table, "", *(f"- {note}" for note in notes)])

    def csv(self) -> str:
        """One line per result, with its protocol."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["model", "domain", "images", "metric", "value", "n", "protocol"])
        for line in self.lines:
            for row in line.results.values():
                measured = row.metric, f"{row.value:.6g}", row.n, protocol_text(row.protocol)
                writer.writerow([line.model, line.domain, line.images, *measured])
        return text.getvalue()

    def data(self) -> list[dict[str, Any]]:
        """The lines as JSON types; missing results are None."""
        return [
            {
                "model": line.model,
                "domain": line.domain,
                "images": line.images,
                **{name: None for name, metric in METRICS.items() if metric.headline},
                **{name: row.value for name, row in line.results.items()},
                "n": line.n,
                "missing": line.missing or None,
            }
            for line in self.lines
        ]


def _shown(line: Line, metrics: Sequence[str]) -> list[str]:
    found = [line.results.get(name) for name in metrics]
    values = ["-" if row is None else f"{row.value:.{metric_of(row.metric).digits}f}" for row in found]
    return [line.model, line.domain, line.images, *values, str(line.n or "-")]


def _meaning(lines: Sequence[Line], metrics: Sequence[str]) -> Iterable[str]:
    for name in metrics:
        rows = [line.results.get(name) for line in lines if line.results]
        settings = dict.fromkeys(protocol_text(row.protocol) for row in rows if row is not None)
        about = [metric_of(name).meaning, *filter(None, settings)]
        about += ["-: the network has no map, or every map is constant"] if None in rows else []
        yield f"{metric_of(name).title}: {'; '.join(about)}"
