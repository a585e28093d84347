"""Trade-off curves: clean accuracy and faithfulness of explanations over robust accuracy.

Trains each method at several values of the weight that trades clean for robust accuracy.

accelerate launch recipes/trade_off_curves.py --data-dir PACS --methods egat trades pgd_at
accelerate launch recipes/trade_off_curves.py --data synthetic --config recipes/demo.yaml
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pages import Page, Point, by_domain, line_style, publish

from egat_hub.experiments.command import start
from egat_hub.experiments.experiment import Experiment, Finished
from egat_hub.experiments.tables.in_domain import attacked, in_domain
from egat_hub.experiments.tables.report import report
from egat_hub.experiments.tables.table import PAPER, Published, Table
from egat_hub.experiments.variants import VARIANTS, Variant

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
"""Swept field and values by method; values of epsilon are multiples of the experiment's."""


def main(benchmark: str, *, description: str, arguments: Sequence[str] | None = None) -> None:
    """Train every selected method at every value of its weight, and plot the trade-off curves.

    Writes ``trade_off_<domain>.png``, ``trade_off.md``, ``.tex``, ``.csv``, ``.json`` and ``.yaml`` to the
    output folder, besides the runs; finished runs there are reused.

    Args:
        benchmark: default data set.
        description: text of ``--help``.
        arguments: command line; ``sys.argv`` by default.
    """
    ready = start(
        benchmark, description=description, arguments=arguments, adapt=sweep, kept_as="trade_off.yaml"
    )
    publish(ready, "trade_off", partial(_pages, ready.experiment))


def _pages(experiment: Experiment, finished: Finished) -> dict[str, Page]:
    return {domain: _page(experiment, mine) for domain, mine in by_domain(finished).items()}


def _page(experiment: Experiment, finished: Finished) -> Page:
    outcomes = [outcome for _, found in finished for outcome in found]
    rows = [row for row, _ in outcomes]
    tables = report(outcomes, epsilon=experiment.epsilon)
    (table,) = in_domain(rows, Published())
    points = [*curve_points(table, experiment.variants, experiment.epsilon)]
    text = [
        tables.markdown(),
        f"## Trade-off: {table.title}\n",
        *(f"- {line}" for line in verdicts(points)),
        "",
    ]
    return Page(text, tables.tables, rows, trade_off_figure(points, table.title, tables.notes))


def sweep(experiment: Experiment) -> Experiment:
    """The experiment with each method at its given setting and at every value of its weight.

    Raises:
        ValueError: the experiment has a hyperparameter search, which would choose one setting.
    """
    if experiment.grid:
        raise ValueError("Trade-off curves train every value of a weight; leave out --search.")
    return replace(experiment, variants=tuple(v for base in experiment.variants for v in _swept(base)))


def _swept(base: Variant) -> Iterator[Variant]:
    yield base
    if base.name in SWEEPS:  # not the ablation, whose names are others
        field, values = SWEEPS[base.method]
        config: Any = base.config
        scale = config.epsilon if field == "epsilon" else 1.0
        for value in (scale * value for value in values):
            if value != getattr(config, field):
                name = f"{base.name} {field}={value:g}"
                yield Variant(name, base.method, replace(config, **{field: value}))


def curve_points(table: Table, variants: Sequence[Variant], epsilon: float) -> Iterator[Point]:
    """Points from an in-domain table, for variants with clean and robust accuracy at ``epsilon``."""
    titles = {**PAPER, "robust_accuracy": attacked(epsilon)}
    for variant in variants:
        entries = dict(zip(table.columns, table.lines.get(variant.name, ()), strict=False))
        figures = {
            name: summary
            for name, title in titles.items()
            if title in entries and (summary := entries[title].summary)
        }
        if {"clean_accuracy", "robust_accuracy"} <= figures.keys():
            method = variant.name if variant.name in VARIANTS else variant.method
            field = SWEEPS[method][0] if method in SWEEPS else ""
            weight = getattr(variant.config, field) if field else None
            yield Point(method, variant.name, field, weight, variant.name == method, figures)


def verdicts(points: Sequence[Point]) -> Iterator[str]:
    """For each point, the others with higher mean clean accuracy and higher mean robust accuracy."""
    for point in points:
        better = [other.name for other in points if other.dominates(point)]
        clean, robust = (point.figures[name].mean for name in ("clean_accuracy", "robust_accuracy"))
        verdict = f"dominated by {', '.join(better)}" if better else "not dominated"
        yield f"{point.name} ({clean:.1f} clean, {robust:.1f} robust): {verdict}"


if __name__ == "__main__":
    main("pacs", description=str(__doc__))
