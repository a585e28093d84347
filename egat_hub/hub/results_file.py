"""Result rows from a file of unknown origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from egat_hub.config import from_dict
from egat_hub.json_file import read_json
from egat_hub.results import Row

MAX_TEXT = 200


def read_results(path: Path) -> list[Row]:
    """Read what :func:`egat_hub.results.write_rows` wrote, and check every value.

    Raises:
        ValueError: not JSON, not rows, or values of another type; the message names the file.
    """
    try:
        return rows_of(read_json(path))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} does not hold result rows as egat_hub writes them: {str(error)[:500]}"
        ) from error


def rows_of(content: Any) -> list[Row]:
    """Rows from the content of a JSON file.

    Raises:
        TypeError: a row lacks a value.
        ValueError: no list of rows, or values of another type.
    """
    if not isinstance(content, list):
        raise ValueError(f"expected a list, got a {type(content).__name__}")
    return [_row(item) for item in content]


def _row(item: Any) -> Row:
    if not isinstance(item, dict):
        raise ValueError(f"expected a row, got a {type(item).__name__}")
    row = from_dict(Row, item)
    texts = (row.model, row.method, row.dataset, row.train_domain, row.test_domain, row.split, row.metric)
    if not all(_is_name(text) for text in (*texts, row.selection)):
        raise ValueError(f"expected names of at most {MAX_TEXT} printable characters")
    if type(row.value) not in (int, float) or type(row.n) is not int or type(row.seed) is not int:
        raise ValueError("expected value, n and seed to be numbers")
    if not isinstance(row.protocol, dict) or not all(map(_is_setting, row.protocol.values())):
        raise ValueError("expected a protocol of names and numbers")
    return row


def _is_name(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= MAX_TEXT and text.isprintable()


def _is_setting(value: Any) -> bool:
    if isinstance(value, list):
        return all(not isinstance(item, list) and _is_setting(item) for item in value)
    return isinstance(value, (bool, int, float, type(None))) or _is_name(value)
