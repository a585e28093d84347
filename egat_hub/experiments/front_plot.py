"""Fronts as a figure: robust accuracy against clean accuracy and against faithfulness."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egat_hub.experiments.line_styles import line_style
from egat_hub.experiments.points import Point

LABELS = {
    "cAcc": "clean accuracy (%)",
    "Comp": "Comp (higher is better)",
    "Suff": "Suff (lower is better)",
}
CAPTION = "Percent", "Weights", "aAcc:", "Comp:", "Suff:"
READING = (
    "Numbers: the weight in brackets. Rings: the setting of a run that is told nothing else. Bars: standard "
    "deviation over seeds."
)


def front_figure(points: Sequence[Point], title: str, notes: Sequence[str]) -> Figure:
    """A panel for each figure that is measured, over robust accuracy.

    Points of a method are joined in the order of their weights, which stand beside them; a ring marks the
    setting that a run has unless told otherwise. Bars are standard deviations over seeds.

    Args:
        points: at least one.
        title: of the figure.
        notes: sentences on how to read the figures; those on what is shown stand below.
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
        x, y = ([point.figures[axis] for point in mine] for axis in ("aAcc", name))
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
