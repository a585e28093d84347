"""Robust accuracy over training time as a figure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egat_hub.experiments.line_styles import line_style
from egat_hub.experiments.trade import KEPT, TIME, Trade, front


def pareto_figure(trades: Sequence[Trade], title: str, caption: str) -> Figure:
    """A point for each variant with its name beside, and a gray line through those that none beats.

    Markers tell methods apart, without colour. Dotted lines bound what is asked of a cheaper attack on the
    first method: 95 % of its gain over ERM in half of its time.

    Args:
        trades: at least one.
        title: of the figure.
        caption: the protocol, below.
    """
    figure = Figure(figsize=(7.0, 5.6), layout="constrained")
    axes = figure.subplots()
    best = front(trades)
    axes.step(
        [trade.minutes for trade in best],
        [trade.accuracy.mean for trade in best],
        where="post",
        color="#9a9a9a",
        linewidth=1.0,
        zorder=1,
        label="not beaten in less time",
    )
    bases = list(dict.fromkeys(trade.base for trade in trades))
    for trade in trades:
        style = {**line_style(bases.index(trade.base)), "linestyle": "none"}
        if trade not in best:
            style["markerfacecolor"] = "white"
        accuracy = trade.accuracy
        axes.errorbar(trade.minutes, accuracy.mean, yerr=accuracy.sd, elinewidth=0.6, capsize=2, **style)
        axes.annotate(
            trade.name,
            (trade.minutes, accuracy.mean),
            (7, 5),
            textcoords="offset points",
            fontsize="x-small",
        )
    _asked(axes, trades)
    axes.set_xlabel("training time (minutes)")
    axes.set_ylabel("robust accuracy (%)")
    axes.set_xlim(left=0)
    axes.margins(x=0.18)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", loc="lower right")
    figure.suptitle(title)
    figure.supxlabel(textwrap.fill(caption, 95), fontsize="x-small")
    return figure


def _asked(axes: Axes, trades: Sequence[Trade]) -> None:
    erm = next((trade for trade in trades if trade.name == "erm"), None)
    base = next((trade for trade in trades if trade.name == trade.base and trade is not erm), None)
    if erm is None or base is None:
        return
    low, high = erm.accuracy.mean, base.accuracy.mean
    axes.axvline(TIME * base.minutes, color="gray", linestyle=":", linewidth=0.8)
    axes.axhline(low + KEPT / 100 * (high - low), color="gray", linestyle=":", linewidth=0.8)
