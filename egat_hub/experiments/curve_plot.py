"""Attack curves as a figure: accuracy against the budget, a panel for each attack."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egat_hub.experiments.line_styles import line_style
from egat_hub.results import Summary

Curve = Mapping[float, Summary]
"""Accuracy by budget; 0 is that of clean images."""


def curve_figure(
    panels: Mapping[str, Mapping[str, Curve]], title: str, caption: str, chance: float | None = None
) -> Figure:
    """A panel for each attack, a line for each method; bars are standard deviations over seeds.

    Args:
        panels: curves by name of the attack and method; at least one.
        title: of the figure.
        caption: the protocol, below.
        chance: accuracy of guessing in percent, drawn as a dotted line.
    """
    figure = Figure(figsize=(0.6 + 3.6 * len(panels), 4.4), layout="constrained")
    methods = list(dict.fromkeys(method for curves in panels.values() for method in curves))
    row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (attack, curves) in zip(row, panels.items(), strict=True):
        _panel(axes, curves, methods)
        if chance is not None:
            axes.axhline(chance, color="gray", linestyle=":", linewidth=0.8, label="chance")
        axes.set_title(attack)
    row[0].set_ylabel("accuracy (%)")
    row[0].legend(fontsize="small")
    figure.suptitle(title)
    figure.supxlabel(textwrap.fill(caption, 48 * len(panels)), fontsize="x-small")
    return figure


def _panel(axes: Axes, curves: Mapping[str, Curve], methods: Sequence[str]) -> None:
    for method, curve in curves.items():
        budgets = sorted(curve)
        axes.errorbar(
            budgets,
            [curve[budget].mean for budget in budgets],
            yerr=[curve[budget].sd for budget in budgets],
            elinewidth=0.6,
            label=method,
            **line_style(methods.index(method)),
        )
    axes.set_xlabel("epsilon (pixels in [0, 1])")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
