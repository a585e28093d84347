"""A table as Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tabulate import tabulate

from egat_hub.experiments.tables.table import Entry, Table
from egat_hub.whole_file import write_whole

LINE = "method"


def markdown(table: Table) -> str:
    """A Markdown table; ``**best**``, ``[published]``, ``[suspect?]``."""
    return tabulate(_lines(table, _markdown_entry), [LINE, *table.columns], "github", disable_numparse=True)


def latex(table: Table) -> str:
    """A LaTeX tabular for the booktabs package; best in bold, published figures in brackets."""
    titles = [_escaped(title) for title in (LINE, *table.columns)]
    lines = [[_escaped(name), *entries] for name, *entries in _lines(table, _latex_entry)]
    body = tabulate(lines, titles, "latex_raw", disable_numparse=True)
    rules = iter(("\\toprule", "\\midrule", "\\bottomrule"))
    body = "\n".join(next(rules) if line == "\\hline" else line for line in body.splitlines())
    caption = f"\\caption{{{_escaped(table.title)}}}"
    return f"\\begin{{table}}\n\\centering\n{caption}\n{body}\n\\end{{table}}\n"


def to_csv(tables: Iterable[Table]) -> str:
    """Every entry of every table as a line of its own."""
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
    write_whole(folder / f"{name}.md", text)
    write_whole(folder / f"{name}.tex", "\n".join(map(latex, tables)))
    write_whole(folder / f"{name}.csv", to_csv(tables))


def _lines(table: Table, write: Callable[[Entry], str]) -> list[list[str]]:
    most = max((e.summary.n for line in table.lines.values() for e in line if e.summary), default=0)

    def written(entry: Entry) -> str:
        fewer = entry.summary is not None and entry.summary.n < most
        return write(entry) + (f" (n={entry.summary.n})" if entry.summary and fewer else "")

    return [[name, *map(written, entries)] for name, entries in table.lines.items()]


def _markdown_entry(entry: Entry) -> str:
    return _entry(entry, "{} ± {}", "**{}**")


def _latex_entry(entry: Entry) -> str:
    return _entry(entry, "{} $\\pm$ {}", "\\textbf{{{}}}")


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
    for character in ("&", "%", "_", "#"):
        text = text.replace(character, f"\\{character}")
    return text.replace("->", "$\\to$")
