"""Trained and tested on one domain: Tables I and IV of the EGAT paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from egat_hub.card_tables import protocol_text
from egat_hub.experiments.tables.columns import Column, tabulated
from egat_hub.experiments.tables.distinct import distinct
from egat_hub.experiments.tables.headline import headline
from egat_hub.experiments.tables.published import Published
from egat_hub.experiments.tables.table import Table
from egat_hub.results import Row

AVERAGE = "average"

BUDGETS = ("epsilon", "latent_epsilon")
"""What a budget may bound: pixels, or the latent of a diffusion model."""


class Attempt(NamedTuple):
    """Settings of an attack, what its budget bounds, and the budget."""

    settings: str
    space: str
    budget: float


def in_domain(rows: Sequence[Row], published: Published, epsilon: float | None = None) -> list[Table]:
    """A table for each training domain, and one for their average.

    Args:
        rows: of one data set and one network.
        published: figures of a paper on the same data set.
        epsilon: budget beside which published robust accuracy stands; by default the smallest.
    """
    rows = headline(rows)
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


def attacked(epsilon: float, attack: str = "", space: str = "epsilon") -> str:
    """Title of the column of robust accuracy at a budget; only an attack after the first is named."""
    budget = f"aAcc {epsilon:.4g}" if space == "epsilon" else f"aAcc {space} {epsilon:.4g}"
    return f"{budget} {attack}".rstrip()


def attacked_titles(rows: Iterable[Row]) -> dict[Attempt, str]:
    """Titles of the columns of robust accuracy: the first attack by budget, then others."""
    attempts = {attempt_of(row): row.protocol.get("attack", "") for row in rows if row.metric == "aAcc"}
    order = list(dict.fromkeys(attempt.settings for attempt in sorted(attempts, key=lambda a: a.space)))
    titles = {
        attempt: attacked(
            attempt.budget,
            attempts[attempt] if attempt.space == "epsilon" and attempt.settings != order[0] else "",
            attempt.space,
        )
        for attempt in sorted(attempts, key=lambda attempt: (order.index(attempt.settings), attempt.budget))
    }
    return distinct(titles, {attempt: attempt.settings for attempt in titles})


def attempt_of(row: Row) -> Attempt:
    """The settings of the attack behind a robust accuracy, and its budget."""
    space = next(space for space in BUDGETS if space in row.protocol)
    settings = {key: value for key, value in row.protocol.items() if key != space}
    return Attempt(protocol_text(settings), space, row.protocol[space])


def _columns(rows: Sequence[Row], epsilon: float | None) -> list[Column]:
    titles = attacked_titles(rows)
    smallest = next((attempt.budget for attempt in titles if attempt.space == "epsilon"), 0.0)
    main = attacked(smallest if epsilon is None else epsilon)
    columns = [Column("cAcc", _accuracy(own=True), "cAcc", better="higher")]
    columns += [
        Column(title, _attacked_by(attempt), "aAcc" if title == main else "", better="higher")
        for attempt, title in titles.items()
    ]
    columns += [
        Column("Comp", _judged("Comp", "model"), "Comp", better="higher"),
        Column("Suff", _judged("Suff", "model"), "Suff", better="lower"),
        Column("Comp random", _judged("Comp", "random")),
        Column("Suff random", _judged("Suff", "random")),
        Column(
            f"stability {smallest:.4g}",
            _stability,
            digits=2,
            better="higher",
        ),
        *(Column(f"fooled {a}", _fooled_by(a), better="lower") for a in _explanation_attacks(rows)),
        Column("mCA", lambda row: row.metric == "mCA", better="higher"),
        Column("OOD", _accuracy(own=False), "cAcc", better="higher"),
        Column("units/step", lambda row: row.metric == "Units", digits=0),
        Column("train s", lambda row: row.metric == "TrainSeconds", digits=0),
    ]
    return [column for column in columns if any(map(column.holds, rows))]


def _accuracy(*, own: bool) -> Callable[[Row], bool]:
    return lambda row: row.metric == "cAcc" and (row.test_domain == row.train_domain) is own


def _attacked_by(attempt: Attempt) -> Callable[[Row], bool]:
    return lambda row: row.metric == "aAcc" and attempt_of(row) == attempt


def _stability(row: Row) -> bool:
    protocol = row.protocol
    return (
        row.metric == "Stability" and protocol["measure"] == "topk_overlap" and "prediction" not in protocol
    )


def _explanation_attacks(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row.protocol["attack"] for row in rows if row.metric == "Fooled"))


def _fooled_by(attack: str) -> Callable[[Row], bool]:
    return lambda row: row.metric == "Fooled" and row.protocol["attack"] == attack


def _judged(metric: str, judged: str) -> Callable[[Row], bool]:
    return lambda row: row.metric == metric and row.protocol["map"] == judged
