"""Columns of tables: which rows a column holds, and its heading."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from egat_hub.core.metric import Better
from egat_hub.core.results import Row
from egat_hub.experiments.tables.table import Column, heading
from egat_hub.hub.tables import protocol_text
from egat_hub.metrics import Metric, metric_of

K = TypeVar("K", bound=Hashable)

COMPARED = {"map", "measure", "prediction"}
"""Keys of a protocol with a column for each value."""

BUDGETS = ("epsilon", "latent_epsilon")
"""Budgets of attacks on pixels and on the latent of a diffusion model."""


def headline(rows: Sequence[Row]) -> list[Row]:
    """The rows; of explanation metrics only those with the first settings of metric and attack.

    Comprehensiveness, for example, is that with ``Faithfulness.q`` and ``fill``.
    """
    first: dict[tuple[str, Any], dict[str, Any]] = {}

    def is_first(row: Row) -> bool:
        settings = {key: value for key, value in row.protocol.items() if key not in COMPARED}
        return settings == first.setdefault((row.metric, row.protocol.get("attack")), settings)

    return [row for row in rows if not COMPARED & row.protocol.keys() or is_first(row)]


def distinct(titles: Mapping[K, str], settings: Mapping[K, str]) -> dict[K, str]:
    """Titles; duplicates get their settings, from ``protocol_text``, in brackets."""
    found = dict(titles)
    for title in set(titles.values()):
        same = [key for key in titles if titles[key] == title]
        if len(same) > 1:
            shared = set.intersection(*(set(settings[key].split(", ")) for key in same))
            for key in same:
                own = [part for part in settings[key].split(", ") if part not in shared]
                found[key] = f"{title} ({', '.join(own)})" if own else title
    return found


class Attempt(NamedTuple):
    """Settings of an attack, the space of its budget, and the budget."""

    settings: str
    space: str
    budget: float


def attempt_of(row: Row) -> Attempt:
    """The settings of the attack behind a robust accuracy, and its budget."""
    space = next(space for space in BUDGETS if space in row.protocol)
    settings = {key: value for key, value in row.protocol.items() if key != space}
    return Attempt(protocol_text(settings), space, row.protocol[space])


def by_budget(row: Row) -> bool:
    """Whether the row's metric has a column for each budget of an attack."""
    return metric_of(row.metric).columns == "epsilon"


def attacked(epsilon: float, attack: str = "", space: str = "epsilon") -> str:
    """Heading of robust accuracy at a budget; the first attack is not named."""
    budget = f"{epsilon:.4g}" if space == "epsilon" else f"{space} {epsilon:.4g}"
    return f"{heading('robust_accuracy')} {budget} {attack}".rstrip()


def attacked_titles(rows: Iterable[Row]) -> dict[Attempt, str]:
    """Headings of robust accuracy: the first attack by budget, then others."""
    attempts = {attempt_of(row): row.protocol.get("attack", "") for row in rows if by_budget(row)}
    order = list(dict.fromkeys(attempt.settings for attempt in sorted(attempts, key=lambda a: a.space)))
    titles = {}
    for attempt in sorted(attempts, key=lambda attempt: (order.index(attempt.settings), attempt.budget)):
        named = attempt.space == "epsilon" and attempt.settings != order[0]
        titles[attempt] = attacked(attempt.budget, attempts[attempt] if named else "", attempt.space)
    return distinct(titles, {attempt: attempt.settings for attempt in titles})


def columns_of(metric: Metric, rows: Sequence[Row], epsilon: float | None = None) -> Iterator[Column]:
    """Columns of a metric on the training domain: its own, one for each setting that it varies, its control.

    Args:
        metric: the metric.
        rows: rows of all metrics.
        epsilon: budget of published robust accuracy; by default the smallest.
    """
    title, mine = heading(metric.name), [row for row in rows if row.metric == metric.name]

    def column(
        title: str, holds: Callable[[Row], bool], published: str = "", better: Better | None = metric.better
    ) -> Column:
        def chosen(row: Row) -> bool:
            return row.metric == metric.name and row.test_domain == row.train_domain and holds(row)

        return Column(title, chosen, published, metric.digits, better)

    if metric.columns == "epsilon":
        attempts = attacked_titles(mine)
        smallest = next((attempt.budget for attempt in attempts if attempt.space == "epsilon"), 0.0)
        main = attacked(smallest if epsilon is None else epsilon)
        for attempt, name in attempts.items():
            published = metric.name if name == main else ""
            yield column(name, _is_attempt(attempt), published)
    elif metric.columns:
        for value in dict.fromkeys(row.protocol[metric.columns] for row in mine):
            yield column(f"{title} {value}", _having({metric.columns: value}))
    else:
        yield column(title, _having(metric.shown), metric.name)
    if metric.control:
        name = f"{title} {' '.join(map(str, metric.control.values()))}"
        yield column(name, _having(metric.control), better=None)


def _is_attempt(attempt: Attempt) -> Callable[[Row], bool]:
    return lambda row: attempt_of(row) == attempt


def _having(settings: Mapping[str, Any]) -> Callable[[Row], bool]:
    return lambda row: all(row.protocol.get(name) == value for name, value in settings.items())
