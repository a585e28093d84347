"""Robust accuracy over training time as a figure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egat_hub.experiments.line_styles import line_style
from egat_hub.experiments.trade import ERM, KEPT, TIME, Trade, front


def pareto_figure(trades: Sequence[Trade], title: str, caption: str) -> Figure:
    """A panel for each method, a marker for each training attack, and ERM in all of them.

    A gray line joins what nothing beats in less time, whose markers are filled; the shape of a marker tells
    attacks apart, without colour. Dotted lines bound what is asked of a cheaper attack: 95 % of the gain of
    the method's own PGD over ERM in half of its time.

    Args:
        trades: at least one that is not ERM.
        title: of the figure.
        caption: the protocol, below.
    """
    bases = list(dict.fromkeys(trade.base for trade in trades if trade.base != ERM))
    figure = Figure(figsize=(0.8 + 5.4 * len(bases), 5.4), layout="constrained")
    for axes, base in zip(figure.subplots(1, len(bases), squeeze=False, sharey=True)[0], bases, strict=True):
        _panel(axes, [trade for trade in trades if trade.base in (ERM, base)], base)
    figure.axes[0].set_ylabel("robust accuracy (%)")
    figure.suptitle(title)
    figure.supxlabel(textwrap.fill(caption, 20 + 62 * len(bases)), fontsize="x-small")
    return figure


def _panel(axes: Axes, trades: Sequence[Trade], base: str) -> None:
    best = front(trades)
    axes.step(
        [trade.minutes for trade in best],
        [trade.accuracy.mean for trade in best],
        where="post",
        color="#9a9a9a",
        linewidth=1.0,
        zorder=1,
    )
    attacked = [trade for trade in trades if trade.base != ERM]
    for trade in trades:
        style: dict[str, Any] = {"marker": "X", "color": "#000000"}
        if trade in attacked:
            style = line_style(attacked.index(trade))
        axes.errorbar(
            trade.minutes,
            trade.accuracy.mean,
            yerr=trade.accuracy.sd,
            elinewidth=0.6,
            capsize=2,
            label=trade.name,
            **{**style, "linestyle": "none"},
            markerfacecolor=style["color"] if trade in best else "none",
        )
    erm, own = ([trade for trade in trades if trade.name == name] for name in (ERM, base))
    if erm and own:
        low, high = erm[0].accuracy.mean, own[0].accuracy.mean
        axes.axvline(TIME * own[0].minutes, color="gray", linestyle=":", linewidth=0.8)
        axes.axhline(low + KEPT / 100 * (high - low), color="gray", linestyle=":", linewidth=0.8)
    axes.set_xlabel("training time (minutes)")
    axes.set_xlim(left=0)
    axes.set_title(base)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", loc="lower right")
