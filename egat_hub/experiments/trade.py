"""What a training attack costs and what it is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from egat_hub.results import Summary

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
