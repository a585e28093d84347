"""Which of the rows that differ in their settings alone a table shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from egat_hub.results import Row

COMPARED = {"map", "measure", "prediction"}
"""Keys of a protocol whose values a table sets side by side."""


def headline(rows: Sequence[Row]) -> list[Row]:
    """The rows, of figures of explanations only those with the settings of the first of metric and attack.

    So Comp is that of ``Faithfulness.q`` and ``fill``, whatever further shares and fills were measured.
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
