"""Trained and tested on one domain: Tables I and IV of the EGAT paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from egat_hub.experiments.tables.columns import Column, tabulated
from egat_hub.experiments.tables.published import Published
from egat_hub.experiments.tables.table import Table
from egat_hub.results import Row

AVERAGE = "average"


def in_domain(rows: Sequence[Row], published: Published, epsilon: float | None = None) -> list[Table]:
    """A table for each training domain, and one for their average.

    Args:
        rows: of one data set and one network.
        published: figures of a paper on the same data set.
        epsilon: budget beside which published robust accuracy stands; by default the smallest.
    """
    columns = _columns(rows, epsilon)
    domains = list(dict.fromkeys(row.train_domain for row in rows))
    return [
        tabulated(
            _title(rows, domain),
            [row for row in rows if domain in (AVERAGE, row.train_domain)],
            columns,
            published,
        )
        for domain in [*domains, *([AVERAGE] if len(domains) > 1 else [])]
    ]


def _title(rows: Sequence[Row], domain: str) -> str:
    n = next((row.n for row in rows if row.train_domain == row.test_domain == domain), None)
    images = f", n = {n} test images" if n else ""
    return f"{rows[0].model}, {rows[0].dataset}, trained on {domain}{images}"


def attacked(epsilon: float) -> str:
    """Title of the column of robust accuracy at a budget."""
    return f"aAcc {epsilon:.4g}"


def _columns(rows: Iterable[Row], epsilon: float | None) -> list[Column]:
    epsilons = sorted({row.protocol["epsilon"] for row in rows if row.metric == "aAcc"})
    main = min(epsilons, default=0.0) if epsilon is None else epsilon
    columns = [Column("cAcc", _accuracy(own=True), "cAcc", better="higher")]
    columns += [
        Column(attacked(e), _attacked_at(e), "aAcc" if e == main else "", better="higher") for e in epsilons
    ]
    columns += [
        Column("Comp", _judged("Comp", "model"), "Comp", better="higher"),
        Column("Suff", _judged("Suff", "model"), "Suff", better="lower"),
        Column("Comp random", _judged("Comp", "random")),
        Column("Suff random", _judged("Suff", "random")),
        Column(
            f"stability {min(epsilons, default=0):.4g}",
            lambda row: row.metric == "Stability" and row.protocol["measure"] == "topk_overlap",
            digits=2,
            better="higher",
        ),
        *(Column(f"fooled {a}", _fooled_by(a), better="lower") for a in _explanation_attacks(rows)),
        Column("OOD", _accuracy(own=False), "cAcc", better="higher"),
        Column("units/step", lambda row: row.metric == "Units", digits=0),
        Column("train s", lambda row: row.metric == "TrainSeconds", digits=0),
    ]
    return [column for column in columns if any(map(column.holds, rows))]


def _accuracy(*, own: bool) -> Callable[[Row], bool]:
    return lambda row: row.metric == "cAcc" and (row.test_domain == row.train_domain) is own


def _attacked_at(epsilon: float) -> Callable[[Row], bool]:
    return lambda row: row.metric == "aAcc" and row.protocol["epsilon"] == epsilon


def _explanation_attacks(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row.protocol["attack"] for row in rows if row.metric == "Fooled"))


def _fooled_by(attack: str) -> Callable[[Row], bool]:
    return lambda row: row.metric == "Fooled" and row.protocol["attack"] == attack


def _judged(metric: str, judged: str) -> Callable[[Row], bool]:
    return lambda row: row.metric == metric and row.protocol["map"] == judged
