"""A model before and after fine-tuning, on its old and its new domain."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tabulate import tabulate

from egat_hub.core.results import Row
from egat_hub.experiments.tables.in_domain import headline
from egat_hub.hub.card_tables import protocol_text

COLUMNS = ("model", "domain", "images", "clean", "robust", "comprehensiveness", "sufficiency", "n")
METRICS = {
    "clean": "clean_accuracy",
    "robust": "robust_accuracy",
    "comprehensiveness": "comprehensiveness",
    "sufficiency": "sufficiency",
}


@dataclass(frozen=True)
class Line:
    """A model on a domain.

    Attributes:
        model: before or after fine-tuning.
        domain: the old or the new domain.
        images: names of data set and domain.
        rows: result rows; empty if nothing was measured.
        missing: why nothing was measured, a sentence.
    """

    model: Literal["before", "after"]
    domain: Literal["old", "new"]
    images: str
    rows: Sequence[Row] = ()
    missing: str = ""

    @property
    def results(self) -> dict[str, Row]:
        """The rows by column; of explanation metrics, the model's own maps with the first settings."""
        rows = [row for row in headline(self.rows) if row.protocol.get("map", "model") == "model"]
        found = {
            column: next((row for row in rows if row.metric == metric), None)
            for column, metric in METRICS.items()
        }
        return {column: row for column, row in found.items() if row is not None}


@dataclass(frozen=True)
class BeforeAfter:
    """The four lines of the table, and notes.

    Attributes:
        lines: before and after, on the old and on the new domain.
        notes: sentences.
    """

    lines: tuple[Line, ...]
    notes: tuple[str, ...] = field(default=())

    def markdown(self) -> str:
        """The table, what its columns mean, and why some results are missing."""
        table = tabulate([_shown(line) for line in self.lines], COLUMNS, "github", disable_numparse=True)
        missing = dict.fromkeys(
            f"{line.model} on the {line.domain} domain: {line.missing}" for line in self.lines if line.missing
        )
        notes = [*_meaning(self.lines), *missing, *self.notes]
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
                **{
                    column: found.value if (found := line.results.get(column)) else None for column in METRICS
                },
                "n": line.results["clean"].n if line.results else None,
                "missing": line.missing or None,
            }
            for line in self.lines
        ]


def _shown(line: Line) -> list[str]:
    results = line.results
    shown = [f"{results[column].value:.1f}" if column in results else "-" for column in METRICS]
    return [line.model, line.domain, line.images, *shown, str(results["clean"].n) if results else "-"]


def _meaning(lines: Sequence[Line]) -> Iterable[str]:
    results = next((line.results for line in lines if line.results), {})
    yield "clean, robust: share of test images classified correctly, clean and also under attack, in %"
    if "robust" in results:
        yield f"robust: {protocol_text(results['robust'].protocol)}"
    if "comprehensiveness" in results:
        yield (
            "comprehensiveness (higher is better), sufficiency (lower is better): drop of the probability "
            "without the most salient pixels, and with them alone, in points; "
            f"{protocol_text(results['comprehensiveness'].protocol)}"
        )
    if any(line.results and "comprehensiveness" not in line.results for line in lines):
        yield "no comprehensiveness and sufficiency where the network has no map, or every map is constant"
