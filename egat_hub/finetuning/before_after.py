"""What a model could do before fine-tuning and what it can do after, on its old domain and on the new one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tabulate import tabulate

from egat_hub.card_tables import protocol_text
from egat_hub.experiments.tables.headline import headline
from egat_hub.results import Row

COLUMNS = ("model", "domain", "images", "clean", "robust", "Comp", "Suff", "n")
METRICS = {"clean": "cAcc", "robust": "aAcc", "Comp": "Comp", "Suff": "Suff"}


@dataclass(frozen=True)
class Line:
    """A model on a domain.

    Attributes:
        model: before or after fine-tuning.
        domain: the old or the new one.
        images: what it is called.
        rows: what was measured; nothing, where ``missing`` says why.
        missing: a sentence.
    """

    model: Literal["before", "after"]
    domain: Literal["old", "new"]
    images: str
    rows: Sequence[Row] = ()
    missing: str = ""

    @property
    def figures(self) -> dict[str, Row]:
        """The row of every column that has one: of maps, those of the model's own at the first settings."""
        rows = [row for row in headline(self.rows) if row.protocol.get("map", "model") == "model"]
        found = {
            column: next((row for row in rows if row.metric == metric), None)
            for column, metric in METRICS.items()
        }
        return {column: row for column, row in found.items() if row is not None}


@dataclass(frozen=True)
class BeforeAfter:
    """Four lines, and how to read them.

    Attributes:
        lines: before and after, on the old and on the new domain.
        notes: sentences.
    """

    lines: tuple[Line, ...]
    notes: tuple[str, ...] = field(default=())

    def markdown(self) -> str:
        """The table, what its figures mean, and why some are missing."""
        table = tabulate([_shown(line) for line in self.lines], COLUMNS, "github", disable_numparse=True)
        missing = dict.fromkeys(
            f"{line.model} on the {line.domain} domain: {line.missing}" for line in self.lines if line.missing
        )
        notes = [*_meaning(self.lines), *missing, *self.notes]
        return "\n".join([table, "", *(f"- {note}" for note in notes)])

    def csv(self) -> str:
        """Every figure as a line of its own, with its protocol."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["model", "domain", "images", "metric", "value", "n", "protocol"])
        for line in self.lines:
            for row in line.figures.values():
                told = row.metric, f"{row.value:.6g}", row.n, protocol_text(row.protocol)
                writer.writerow([line.model, line.domain, line.images, *told])
        return text.getvalue()

    def data(self) -> list[dict[str, Any]]:
        """The lines as JSON types; figures that are missing are None."""
        return [
            {
                "model": line.model,
                "domain": line.domain,
                "images": line.images,
                **{
                    column: found.value if (found := line.figures.get(column)) else None for column in METRICS
                },
                "n": line.figures["clean"].n if line.figures else None,
                "missing": line.missing or None,
            }
            for line in self.lines
        ]


def _shown(line: Line) -> list[str]:
    figures = line.figures
    shown = [f"{figures[column].value:.1f}" if column in figures else "-" for column in METRICS]
    return [line.model, line.domain, line.images, *shown, str(figures["clean"].n) if figures else "-"]


def _meaning(lines: Sequence[Line]) -> Iterable[str]:
    figures = next((line.figures for line in lines if line.figures), {})
    yield "clean, robust: share of test images classified correctly, clean and also under attack, in %"
    if "robust" in figures:
        yield f"robust: {protocol_text(figures['robust'].protocol)}"
    if "Comp" in figures:
        yield (
            "Comp (higher is better), Suff (lower is better): fall of the probability without the most "
            f"salient pixels, and with them alone, in points; {protocol_text(figures['Comp'].protocol)}"
        )
    if any(line.figures and "Comp" not in line.figures for line in lines):
        yield "no Comp and Suff where the network has no map, or every map is constant"
