"""What the maps of each method are worth, beyond the columns of the paper's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from egat_hub.core.results import Row
from egat_hub.experiments.tables.in_domain import headline
from egat_hub.experiments.tables.table import Better, Column, Published, Table, tabulated
from egat_hub.explanations.similarity import STABILITY

SPLIT = "topk_overlap"
"""The measure of stability that is shown by what became of the prediction, too."""


def explanations(rows: Sequence[Row]) -> Iterator[Table]:
    """For each training domain a table of faithfulness, of localisation, and of stability under attack.

    Controls stand beside: a random map where the model counts, a bump in the centre where the object does.

    Args:
        rows: of one data set and one network.
    """
    rows = headline(rows)
    for domain in dict.fromkeys(row.train_domain for row in rows):
        mine = [row for row in rows if row.train_domain == row.test_domain == domain]
        for name, columns in (
            ("faithfulness", _faithfulness()),
            ("localisation", _localisation()),
            ("stability of maps under attack", _stability()),
        ):
            measured = [column for column in columns if any(map(column.holds, mine))]
            if measured:
                title = f"{mine[0].model}, {mine[0].dataset}, trained on {domain}: {name}"
                yield tabulated(title, mine, measured, Published())


def _faithfulness() -> Iterator[Column]:
    figures: tuple[tuple[str, str, Better], ...] = (
        ("Comp / p", "relative_comprehensiveness", "higher"),
        ("Suff / p", "relative_sufficiency", "lower"),
        ("Comp AOPC", "comprehensiveness_aopc", "higher"),
        ("Suff AOPC", "sufficiency_aopc", "lower"),
        ("insertion", "insertion_auc", "higher"),
        ("deletion", "deletion_auc", "lower"),
    )
    for title, metric, better in figures:
        yield _column(title, metric, better, map="model")
        yield _column(f"{title} random", metric, map="random")


def _localisation() -> Iterator[Column]:
    for title, metric in (("pointing", "pointing_game"), ("energy", "energy_inside"), ("IoU", "mask_iou")):
        yield _column(title, metric, "higher", map="model")
        yield _column(f"{title} centre", metric, map="centre")
    yield _column("mask area", "mask_area")


def _stability() -> Iterator[Column]:
    for measure in STABILITY:
        yield _column(measure, "stability", "higher", digits=2, measure=measure, prediction=None)
    for prediction in ("kept", "flipped"):
        title = f"{SPLIT} {prediction}"
        yield _column(title, "stability", digits=2, measure=SPLIT, prediction=prediction)


def _column(
    title: str, metric: str, better: Better | None = None, *, digits: int = 1, **expected: Any
) -> Column:
    def holds(row: Row) -> bool:
        found = {name: row.protocol.get(name) for name in expected}
        return row.metric == metric and found == expected

    return Column(title, holds, digits=digits, better=better)
