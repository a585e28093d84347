"""Cost and gain of training attacks, and a plot of both."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pages import line_style

from egat_hub.core.results import Summary

ERM = "erm"
"""What every gain is measured from."""

KEPT, TIME = 95.0, 0.5
"""What a cheaper attack is asked for: percent of the gain, at this share of the time at most."""


@dataclass(frozen=True, kw_only=True)
class Trade:
    """A method with a training attack.

    Attributes:
        name: as tables call it.
        base: name of the same method with its own PGD.
        gradients: gradients that its attack asks for in a step.
        seconds: time of a step.
        steps: steps of training.
        clean: clean accuracy in percent.
        robust: robust accuracy in percent by seed.
    """

    name: str
    base: str
    gradients: Summary
    seconds: Summary
    steps: int
    clean: Summary
    robust: Mapping[int, float]

    @property
    def minutes(self) -> float:
        """Training time."""
        return self.steps * self.seconds.mean / 60

    @property
    def accuracy(self) -> Summary:
        """Robust accuracy over seeds."""
        return Summary.of([*self.robust.values()])

    def gain(self, erm: Trade) -> Summary | None:
        """Points of robust accuracy beyond those of ERM on the same seeds; None without a common seed."""
        found = [value - erm.robust[seed] for seed, value in self.robust.items() if seed in erm.robust]
        return Summary.of(found) if found else None

    def kept(self, base: Trade, erm: Trade) -> Summary | None:
        """Its gain in percent of the mean gain of ``base``; None where that is not positive."""
        mine, whole = self.gain(erm), base.gain(erm)
        if mine is None or whole is None or whole.mean <= 0:
            return None
        return Summary(100 * mine.mean / whole.mean, 100 * mine.sd / whole.mean, mine.n)


def front(trades: Sequence[Trade]) -> list[Trade]:
    """Those that no other one beats in robust accuracy in no more time, the quickest first."""
    best: list[Trade] = []
    for trade in sorted(trades, key=lambda trade: (trade.minutes, -trade.accuracy.mean)):
        if not best or trade.accuracy.mean > best[-1].accuracy.mean:
            best.append(trade)
    return best


def verdicts(trades: Sequence[Trade]) -> Iterator[str]:
    """For each method, which training attacks keep 95 % of its gain in half of its time or less."""
    by_name = {trade.name: trade for trade in trades}
    erm = by_name.get(ERM)
    for base in [trade for trade in trades if trade.name == trade.base and trade is not erm]:
        whole = base.gain(erm) if erm else None
        if erm is None or whole is None:
            yield f"{base.name}: no verdict, for there is no ERM of the same seeds."
            continue
        if whole.mean <= whole.sd or whole.mean <= 0:
            yield (
                f"{base.name}: no verdict, for its gain of {whole.mean:.1f} points over ERM is not larger "
                f"than its spread of {whole.sd:.1f}."
            )
            continue
        yield f"{base.name} gains {_shown(whole)} points over ERM in {base.minutes:.1f} minutes."
        good = []
        for trade in trades:
            kept = trade.kept(base, erm) if trade.base == base.name and trade is not base else None
            if kept:
                share = trade.minutes / base.minutes
                passes = kept.mean >= KEPT and share <= TIME
                good += [trade.name] * passes
                yield f"{trade.name} keeps {_shown(kept, 0)} % in {share:.2f} of the time: {_word(passes)}"
        asked = f"at least {KEPT:g} % of the gain of {base.name} in at most {TIME:g} of its time"
        spread = "" if whole.n > 1 else " One seed tells nothing about the spread."
        yield f"{', '.join(good) or 'None of them'} kept {asked}.{spread}"


def _shown(summary: Summary, digits: int = 1) -> str:
    spread = f" ± {summary.sd:.{digits}f} (n = {summary.n})" if summary.n > 1 else " (n = 1)"
    return f"{summary.mean:.{digits}f}{spread}"


def _word(passes: bool) -> str:
    return "yes" if passes else "no"


def pareto_figure(trades: Sequence[Trade], title: str, caption: str) -> Figure:
    """A panel for each method, a marker for each training attack, and ERM in all of them.

    A gray line joins what nothing beats in less time, whose markers are filled; the shape of a marker tells
    attacks apart, without colour. Dotted lines bound what is asked of a cheaper attack: 95 % of the gain of
    the method's own PGD over ERM in half of its time.

    Args:
        trades: at least one that is not ERM.
        title: title of the figure.
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
