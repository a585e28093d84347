"""Trained and tested on one domain: Tables I and IV of the EGAT paper."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from egat_hub.core.results import Row
from egat_hub.experiments.tables.table import Column, Published, Table, tabulated
from egat_hub.hub.card_tables import protocol_text

K = TypeVar("K", bound=Hashable)


def distinct(titles: Mapping[K, str], settings: Mapping[K, str]) -> dict[K, str]:
    """The titles; those that several have get their own settings in brackets.

    Args:
        titles: by key.
        settings: by the same keys, as ``protocol_text`` writes them.
    """
    told = dict(titles)
    for title in set(titles.values()):
        same = [key for key in titles if titles[key] == title]
        if len(same) > 1:
            shared = set.intersection(*(set(settings[key].split(", ")) for key in same))
            for key in same:
                own = [part for part in settings[key].split(", ") if part not in shared]
                told[key] = f"{title} ({', '.join(own)})" if own else title
    return told


COMPARED = {"map", "measure", "prediction"}
"""Keys of a protocol whose values a table sets side by side."""


def headline(rows: Sequence[Row]) -> list[Row]:
    """The rows, of figures of explanations only those with the settings of the first of metric and attack.

    So comprehensiveness is that of ``Faithfulness.q`` and ``fill``, whatever else was measured.
    """
    first: dict[tuple[str, Any], dict[str, Any]] = {}
    return [
        row
        for row in rows
        if not COMPARED & row.protocol.keys()
        or _settings(row) == first.setdefault((row.metric, row.protocol.get("attack")), _settings(row))
    ]


def _settings(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.protocol.items() if key not in COMPARED}


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
    attempts = {
        attempt_of(row): row.protocol.get("attack", "") for row in rows if row.metric == "robust_accuracy"
    }
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
    columns = [Column("cAcc", _accuracy(own=True), "clean_accuracy", better="higher")]
    columns += [
        Column(title, _attacked_by(attempt), "robust_accuracy" if title == main else "", better="higher")
        for attempt, title in titles.items()
    ]
    columns += [
        Column("Comp", _judged("comprehensiveness", "model"), "comprehensiveness", better="higher"),
        Column("Suff", _judged("sufficiency", "model"), "sufficiency", better="lower"),
        Column("Comp random", _judged("comprehensiveness", "random")),
        Column("Suff random", _judged("sufficiency", "random")),
        Column(
            f"stability {smallest:.4g}",
            _stability,
            digits=2,
            better="higher",
        ),
        *(Column(f"fooled {a}", _fooled_by(a), better="lower") for a in _explanation_attacks(rows)),
        Column("mCA", lambda row: row.metric == "mean_corruption_accuracy", better="higher"),
        Column("OOD", _accuracy(own=False), "clean_accuracy", better="higher"),
        Column("units/step", lambda row: row.metric == "step_cost", digits=0),
        Column("train s", lambda row: row.metric == "training_seconds", digits=0),
    ]
    return [column for column in columns if any(map(column.holds, rows))]


def _accuracy(*, own: bool) -> Callable[[Row], bool]:
    return lambda row: row.metric == "clean_accuracy" and (row.test_domain == row.train_domain) is own


def _attacked_by(attempt: Attempt) -> Callable[[Row], bool]:
    return lambda row: row.metric == "robust_accuracy" and attempt_of(row) == attempt


def _stability(row: Row) -> bool:
    protocol = row.protocol
    return (
        row.metric == "stability" and protocol["measure"] == "topk_overlap" and "prediction" not in protocol
    )


def _explanation_attacks(rows: Iterable[Row]) -> list[str]:
    return list(
        dict.fromkeys(row.protocol["attack"] for row in rows if row.metric == "explanation_attack_success")
    )


def _fooled_by(attack: str) -> Callable[[Row], bool]:
    return lambda row: row.metric == "explanation_attack_success" and row.protocol["attack"] == attack


def _judged(metric: str, judged: str) -> Callable[[Row], bool]:
    return lambda row: row.metric == metric and row.protocol["map"] == judged
