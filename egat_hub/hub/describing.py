"""``results.json`` and the card of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from egat_hub.core.config import from_dict
from egat_hub.core.files import read_json
from egat_hub.core.results import Row
from egat_hub.hub.cards import render_card
from egat_hub.hub.eval_results import eval_result_files
from egat_hub.hub.layout import CARD, ENTRY, MANIFEST, RESULTS, Known, has_weights, is_figure
from egat_hub.hub.manifest import Manifest
from egat_hub.hub.timm_config import NetworkConfig
from egat_hub.hub.weights import CONFIG

MAX_TEXT = 200


def read_results(path: Path) -> list[Row]:
    """Read what :func:`egat_hub.core.results.write_rows` wrote, and check every value.

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


def describe(folder: Path, *, repo_id: str | None = None, name: str = "") -> dict[str, str]:
    """Card and evaluation results of the model in a folder, by their path in it.

    They are made from the model's own files alone, so that no figure is stated that is not in
    ``results.json``.

    Args:
        folder: holds a saved model, or what a release keeps of a known one.
        repo_id: where it is published, for the card's instructions.
        name: of a known model; by default that of the folder.

    Raises:
        ValueError: a file is malformed, or the results are those of another model.
    """
    config, manifest = NetworkConfig.read(folder / CONFIG), Manifest.read(folder / MANIFEST)
    rows = read_results(folder / RESULTS) if (folder / RESULTS).is_file() else []
    card = render_card(
        rows=rows,
        metadata=manifest.metadata,
        label_names=manifest.label_names,
        architecture=config.architecture,
        image_size=manifest.fingerprint.image_size,
        license=config.pretrained_cfg.get("license") or "apache-2.0",
        figures=sorted(entry.name for entry in folder.iterdir() if is_figure(entry.name)),
        **(_of_known(folder, name) if (folder / ENTRY).is_file() else {"repo_id": repo_id}),
    )
    return {CARD: card, **eval_result_files(rows, manifest.metadata)}


def _of_known(folder: Path, name: str) -> dict[str, Any]:
    entry = Known.read(folder)
    return {
        "known_as": name or folder.name,
        "repo_id": entry.repo_id or None,
        "command": entry.command,
        "loads": has_weights(folder) or bool(entry.repo_id),
    }
