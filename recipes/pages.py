"""Write result pages, one per training domain: text, tables, rows and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import PartialState
from matplotlib.figure import Figure

from egat_hub.core.results import Row, Summary, write_rows
from egat_hub.experiments import RunResults
from egat_hub.experiments.plots import save_figure
from egat_hub.experiments.tables.table import Table, write_tables

STYLES: tuple[tuple[str, Any, str], ...] = (
    ("o", "-", "#000000"),
    ("s", "--", "#c1440e"),
    ("^", "-.", "#1f6fb4"),
    ("D", ":", "#3a8f4d"),
    ("v", (0, (5, 1, 1, 1, 1, 1)), "#8b5fbf"),
    ("P", (0, (1, 3)), "#7a7a7a"),
)


def line_style(number: int) -> dict[str, Any]:
    """Marker, line style and colour of a line; they repeat after six."""
    marker, dashes, colour = STYLES[number % len(STYLES)]
    return {"marker": marker, "linestyle": dashes, "color": colour}


@dataclass(frozen=True)
class Point:
    """A point of a trade-off curve.

    Attributes:
        method: name of the method.
        name: row name in tables.
        field: the swept config field; empty for a method without one.
        weight: its value, or None.
        default: whether this is the method's default setting.
        figures: mean and deviation over seeds of clean and robust accuracy and, where measured,
            comprehensiveness and sufficiency.
    """

    method: str
    name: str
    field: str
    weight: float | None
    default: bool
    figures: Mapping[str, Summary]

    def dominates(self, other: Point) -> bool:
        """Whether both clean and robust accuracy are higher on average."""
        return all(
            self.figures[name].mean > other.figures[name].mean
            for name in ("clean_accuracy", "robust_accuracy")
        )


class Page(NamedTuple):
    """One training domain: text in Markdown, tables, the rows behind them, and a figure, if any."""

    text: Sequence[str]
    tables: Sequence[Table]
    rows: Sequence[Row]
    figure: Figure | None


def publish(output: Path, name: str, pages: Mapping[str, Page]) -> None:
    """Write and print the pages of a study; call it in every process.

    The output folder gets ``<name>.md``, ``.tex``, ``.csv`` and ``.json``, and ``<name>_<domain>.png``.

    Args:
        output: folder to write to.
        name: base name of the files.
        pages: pages by training domain.
    """
    if PartialState().is_main_process:
        for domain, page in pages.items():
            if page.figure is not None:
                save_figure(page.figure, output / f"{name}_{domain}.png")
        write_rows(output / f"{name}.json", [row for page in pages.values() for row in page.rows])
        tables = [table for page in pages.values() for table in page.tables]
        text = [line for page in pages.values() for line in page.text]
        write_tables(output, name, "\n".join(text) + "\n", tables)
        print("\n".join(["", *text, f"In {output}: {name}_*.png, {name}.md, .tex, .csv, .json"]))
    PartialState().wait_for_everyone()


def by_domain(results: Sequence[RunResults]) -> dict[str, list[RunResults]]:
    """Results by training domain."""
    domains = dict.fromkeys(found.config.domain for found in results)
    return {domain: [found for found in results if found.config.domain == domain] for domain in domains}
