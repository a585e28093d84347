"""Trained and tested on one domain: Tables I and IV of the EGAT paper."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from egat_hub.core.results import Row
from egat_hub.experiments.tables.table import Column, Published, Table, heading, tabulated
from egat_hub.hub.card_tables import protocol_text
from egat_hub.metrics import METRICS, Metric, metric_of

K = TypeVar("K", bound=Hashable)


def distinct(titles: Mapping[K, str], settings: Mapping[K, str]) -> dict[K, str]:
    """Titles; duplicates get their settings in brackets.

    Args:
        titles: titles by key.
        settings: settings by key, from ``protocol_text``.
    """
    found = dict(titles)
    for title in set(titles.values()):
        same = [key for key in titles if titles[key] == title]
        if len(same) > 1:
            shared = set.intersection(*(set(settings[key].split(", ")) for key in same))
            for key in same:
                own = [part for part in settings[key].split(", ") if part not in shared]
                found[key] = f"{title} ({', '.join(own)})" if own else title
    return found


COMPARED = {"map", "measure", "prediction"}
"""Keys of a protocol with a column for each value."""


def headline(rows: Sequence[Row]) -> list[Row]:
    """The rows; of explanation metrics only those with the first settings of metric and attack.

    Comprehensiveness, for example, is that with ``Faithfulness.q`` and ``fill``.
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
"""Budgets of attacks on pixels and on the latent of a diffusion model."""


class Attempt(NamedTuple):
    """Settings of an attack, the space of its budget, and the budget."""

    settings: str
    space: str
    budget: float


def in_domain(rows: Sequence[Row], published: Published, epsilon: float | None = None) -> list[Table]:
    """A table for each training domain, and one for their average.

    Args:
        rows: rows of one data set and one network.
        published: values of a paper on the same data set.
        epsilon: budget of published robust accuracy; by default the smallest.
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
    """Heading of robust accuracy at a budget; the first attack is not named."""
    budget = f"{epsilon:.4g}" if space == "epsilon" else f"{space} {epsilon:.4g}"
    return f"{heading('robust_accuracy')} {budget} {attack}".rstrip()


def attacked_titles(rows: Iterable[Row]) -> dict[Attempt, str]:
    """Headings of robust accuracy: the first attack by budget, then others."""
    attempts = {attempt_of(row): row.protocol.get("attack", "") for row in rows if by_budget(row)}
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


def by_budget(row: Row) -> bool:
    """Whether the row's metric has a column for each budget of an attack."""
    return metric_of(row.metric).columns == "epsilon"


def attempt_of(row: Row) -> Attempt:
    """The settings of the attack behind a robust accuracy, and its budget."""
    space = next(space for space in BUDGETS if space in row.protocol)
    settings = {key: value for key, value in row.protocol.items() if key != space}
    return Attempt(protocol_text(settings), space, row.protocol[space])


def columns_of(metric: Metric, rows: Sequence[Row], epsilon: float | None = None) -> Iterator[Column]:
    """Columns of a metric on the training domain: its own, one for each setting that it varies, its control.

    Args:
        metric: the metric.
        rows: rows of all metrics.
        epsilon: budget of published robust accuracy; by default the smallest.
    """
    title, mine = heading(metric.name), [row for row in rows if row.metric == metric.name]

    def column(
        title: str, holds: Callable[[Row], bool], published: str = "", compared: bool = True
    ) -> Column:
        def chosen(row: Row) -> bool:
            return row.metric == metric.name and row.test_domain == row.train_domain and holds(row)

        return Column(title, chosen, published, metric.digits, metric.better if compared else None)

    if metric.columns == "epsilon":
        attempts = attacked_titles(mine)
        smallest = next((attempt.budget for attempt in attempts if attempt.space == "epsilon"), 0.0)
        main = attacked(smallest if epsilon is None else epsilon)
        for attempt, name in attempts.items():
            published = metric.name if name == main else ""
            yield column(name, partial(_is_attempt, attempt), published)
    elif metric.columns:
        for value in dict.fromkeys(row.protocol[metric.columns] for row in mine):
            one = replace(metric, shown={metric.columns: value})
            yield column(f"{title} {value}", partial(_is_shown, one))
    else:
        yield column(title, partial(_is_shown, metric), metric.name)
    if metric.control:
        name = f"{title} {' '.join(map(str, metric.control.values()))}"
        control = replace(metric, shown=metric.control)
        yield column(name, partial(_is_shown, control), compared=False)


def _is_attempt(attempt: Attempt, row: Row) -> bool:
    return attempt_of(row) == attempt


def _is_shown(metric: Metric, row: Row) -> bool:
    return metric.shows(row.protocol)


def _columns(rows: Sequence[Row], epsilon: float | None) -> list[Column]:
    shown = [metric for metric in METRICS.values() if metric.table == "results"]
    columns = [column for metric in shown for column in columns_of(metric, rows, epsilon)]
    columns += [
        Column(f"{heading(metric.name)} OOD", _elsewhere(metric), metric.name, better=metric.better)
        for metric in shown
    ]
    return [column for column in columns if any(map(column.holds, rows))]


def _elsewhere(metric: Metric) -> Callable[[Row], bool]:
    return lambda row: row.metric == metric.name and row.test_domain != row.train_domain
