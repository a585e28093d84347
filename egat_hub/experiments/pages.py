"""What an experiment beside the tables of methods shows of each training domain, and where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from accelerate import PartialState
from matplotlib.figure import Figure

from egat_hub.experiments.experiment import Finished, Ready, complete
from egat_hub.experiments.tables.formats import write_tables
from egat_hub.experiments.tables.table import Table
from egat_hub.plots import save_figure
from egat_hub.results import Row, write_rows


class Page(NamedTuple):
    """One training domain: text in Markdown, tables, the rows behind them, and a figure, if any."""

    text: Sequence[str]
    tables: Sequence[Table]
    rows: Sequence[Row]
    figure: Figure | None


def publish(ready: Ready, name: str, pages: Callable[[Finished], dict[str, Page]]) -> None:
    """Complete the experiment, and keep and print what ``pages`` makes of it; every process calls this.

    The output folder gets ``<name>.md``, ``.tex``, ``.csv`` and ``.json``, and ``<name>_<domain>.png``.

    Args:
        ready: what to run.
        name: of the files.
        pages: a page for each training domain of which there are runs, from all finished ones; called in
            every process, for what it measures may take all of them.
    """
    finished = complete(ready)
    state, output = PartialState(), ready.bench.output
    found = pages(finished) if finished else {}
    if state.is_main_process and finished:
        for domain, page in found.items():
            if page.figure is not None:
                save_figure(page.figure, output / f"{name}_{domain}.png")
        write_rows(output / f"{name}.json", [row for page in found.values() for row in page.rows])
        tables = [table for page in found.values() for table in page.tables]
        text = [line for page in found.values() for line in page.text]
        write_tables(output, name, "\n".join(text) + "\n", tables)
        print("\n".join(["", *text, f"In {output}: {name}_*.png, {name}.md, .tex, .csv, .json"]))
    state.wait_for_everyone()


def by_domain(finished: Finished) -> dict[str, Finished]:
    """The runs of each training domain, in their order."""
    domains = dict.fromkeys(cell.domain for cell, _ in finished)
    return {domain: [item for item in finished if item[0].domain == domain] for domain in domains}
