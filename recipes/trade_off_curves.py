"""Trade-off curves: clean accuracy and faithfulness of explanations over robust accuracy.

Trains each method at several values of the weight that trades clean for robust accuracy.

accelerate launch recipes/trade_off_curves.py --data.dir PACS --methods egat trades pgd_at
accelerate launch recipes/trade_off_curves.py --data synthetic --config recipes/demo.yaml
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pages import Page, Point, by_domain, line_style, publish

from egat_hub.core.options import run_command
from egat_hub.data import DataConfig
from egat_hub.experiments import RunConfig, RunResults, SweepOptions, run_sweep
from egat_hub.experiments.config import VARIANTS
from egat_hub.experiments.tables.columns import attacked
from egat_hub.experiments.tables.comparisons import in_domain
from egat_hub.experiments.tables.report import report
from egat_hub.experiments.tables.table import PAPER, Published, Table

LABELS = {
    "clean_accuracy": "clean accuracy (%)",
    "comprehensiveness": "comprehensiveness (higher is better)",
    "sufficiency": "sufficiency (lower is better)",
}
CAPTION = "Percent", "Weights", "aAcc:", "Comp:", "Suff:"
READING = "Numbers: the weight in brackets. Rings: default settings. Bars: standard deviation over seeds."


def trade_off_figure(points: Sequence[Point], title: str, notes: Sequence[str]) -> Figure:
    """Plot each metric over robust accuracy, one panel per metric.

    Points of a method are joined in the order of their weights, which label them. A ring marks the default
    setting; error bars are standard deviations over seeds.

    Args:
        points: at least one point.
        title: title of the figure.
        notes: notes of the table; those on the metrics shown become the caption.
    """
    shown = [name for name in LABELS if any(name in point.figures for point in points)]
    figure = Figure(figsize=(5.0 * len(shown), 5.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        _panel(axes, points, name)
    figure.axes[0].legend(fontsize="small")
    figure.suptitle(title)
    caption = " ".join([*(note for note in notes if note.startswith(CAPTION)), READING])
    figure.supxlabel(textwrap.fill(caption, 58 * len(shown)), fontsize="x-small")
    return figure


def _panel(axes: Axes, points: Sequence[Point], name: str) -> None:
    methods = list(dict.fromkeys(point.method for point in points))
    for position, method in enumerate(methods):
        style = line_style(position)
        mine = [point for point in points if point.method == method and name in point.figures]
        mine.sort(key=lambda point: point.weight or 0.0)
        x, y = ([point.figures[axis] for point in mine] for axis in ("robust_accuracy", name))
        axes.errorbar(
            [summary.mean for summary in x],
            [summary.mean for summary in y],
            xerr=[summary.sd for summary in x],
            yerr=[summary.sd for summary in y],
            elinewidth=0.6,
            label=f"{method} ({mine[0].field})" if mine and mine[0].field else method,
            **style,
        )
        for point, across, up in zip(mine, x, y, strict=True):
            if point.default:
                axes.plot(across.mean, up.mean, "o", markersize=14, fillstyle="none", color=style["color"])
            if point.weight is not None:
                text = f"{point.weight:g}"
                axes.annotate(
                    text, (across.mean, up.mean), (7, 6), textcoords="offset points", fontsize="x-small"
                )
    axes.set_xlabel("robust accuracy (%)")
    axes.set_ylabel(LABELS[name])
    axes.grid(alpha=0.3)


SWEEPS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "egat": ("lambda_adv", (0.1, 0.5, 2.0, 6.0)),
    "trades": ("beta", (1.0, 3.0, 6.0, 12.0)),
    "pgd_at": ("epsilon", (0.25, 0.5, 1.0, 2.0)),
    "igr": ("lambda_igr", (0.01, 0.1, 1.0, 10.0)),
    "ign": ("lambda_ign", (0.01, 0.1, 0.5, 1.0)),
}
"""Swept field and values by method; values of epsilon are multiples of the given one."""


def trade_off_curves(options: SweepOptions) -> None:
    """Train every method at every value of its weight, and plot the trade-off curves.

    The output folder gets ``trade_off_<domain>.png``, ``trade_off.md``, ``.tex``, ``.csv``, ``.json`` and
    ``.yaml``, and a folder for each run; finished runs there are reused.
    """
    if options.search:
        raise ValueError("Trade-off curves train every value of a weight; leave out --search.")
    results = run_sweep(options, with_weights, config_file="trade_off.yaml")
    found = {domain: _page(options.epsilon, mine) for domain, mine in by_domain(results).items()}
    publish(options.folder, "trade_off", found)


def _page(epsilon: float, results: Sequence[RunResults]) -> Page:
    outcomes = [outcome for found in results for outcome in found.outcomes]
    rows = [row for row, _ in outcomes]
    tables = report(outcomes, epsilon=epsilon)
    (table,) = in_domain(rows, Published())
    points = [*curve_points(table, [found.config for found in results], epsilon)]
    text = [
        tables.markdown(),
        f"## Trade-off: {table.title}\n",
        *(f"- {line}" for line in verdicts(points)),
        "",
    ]
    return Page(text, tables.tables, rows, trade_off_figure(points, table.title, tables.notes))


def with_weights(runs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs at their given setting and at every value of their method's weight."""
    return [swept for base in runs for swept in _swept(base)]


def _swept(base: RunConfig) -> Iterator[RunConfig]:
    yield base
    if base.label in SWEEPS:  # not variants of EGAT, whose labels differ
        field, values = SWEEPS[base.label]
        config: Any = base.method_config
        scale = config.epsilon if field == "epsilon" else 1.0
        for value in (scale * value for value in values):
            if value != getattr(config, field):
                changed = replace(config, **{field: value})
                yield replace(base, method_config=changed, label=f"{base.label} {field}={value:g}")


def curve_points(table: Table, runs: Sequence[RunConfig], epsilon: float) -> Iterator[Point]:
    """Points from an in-domain table, for methods with clean and robust accuracy at ``epsilon``."""
    titles = {**PAPER, "robust_accuracy": attacked(epsilon)}
    for label, run in {run.label: run for run in runs}.items():
        entries = dict(zip(table.columns, table.lines.get(label, ()), strict=False))
        figures = {
            name: summary
            for name, title in titles.items()
            if title in entries and (summary := entries[title].summary)
        }
        if {"clean_accuracy", "robust_accuracy"} <= figures.keys():
            method = label if label in VARIANTS else run.method
            field = SWEEPS[method][0] if method in SWEEPS else ""
            weight = getattr(run.method_config, field) if field else None
            yield Point(method, label, field, weight, label == method, figures)


def verdicts(points: Sequence[Point]) -> Iterator[str]:
    """For each point, the others with higher mean clean accuracy and higher mean robust accuracy."""
    for point in points:
        better = [other.name for other in points if other.dominates(point)]
        clean, robust = (point.figures[name].mean for name in ("clean_accuracy", "robust_accuracy"))
        verdict = f"dominated by {', '.join(better)}" if better else "not dominated"
        yield f"{point.name} ({clean:.1f} clean, {robust:.1f} robust): {verdict}"


if __name__ == "__main__":
    run_command(trade_off_curves, description=__doc__, data=DataConfig("pacs"))
