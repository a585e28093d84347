"""``.eval_results/*.yaml``: results in the form that leaderboards of the Hub's data sets collect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from egat_hub.core.results import Row
from egat_hub.hub.card_tables import protocol_text
from egat_hub.hub.layout import EVAL_RESULTS

PREFIX = "egat_hub_"
"""Start of the names of the files that this package writes there; others are left alone."""


def eval_result_files(rows: Iterable[Row], metadata: Mapping[str, Any]) -> dict[str, str]:
    """Files by their path in the repository, one for every metric and threat model.

    The Hub keeps one figure for each data set and task, so that the name of a task holds everything that
    tells a figure from others: domains, split, metric, attack, epsilon and seed.

    Args:
        rows: what was measured.
        metadata: its ``dataset_id`` is the data set on the Hub; without one, rows whose data set is no
            ``organization/name`` are left out, for such a file must name a data set that exists there.
    """
    entries: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        dataset = metadata.get("dataset_id") or row.dataset
        if "/" not in dataset:
            continue
        threat = [str(row.protocol[key]) for key in ("attack", "epsilon") if key in row.protocol]
        name = f"{EVAL_RESULTS}/{PREFIX}{_slug(row.metric, *threat)}.yaml"
        entries.setdefault(name, []).append(_entry(row, dataset))
    return {name: yaml.safe_dump(content, sort_keys=False) for name, content in sorted(entries.items())}


def _entry(row: Row, dataset: str) -> dict[str, Any]:
    protocol = [f"{key}_{value}" for key, value in row.protocol.items()]
    task = _slug(
        row.train_domain, "to", row.test_domain, row.split, row.metric, *protocol, f"seed_{row.seed}"
    )
    notes = [f"{row.metric}, trained on {row.train_domain}, tested on {row.test_domain} ({row.split})"]
    notes += [protocol_text(row.protocol)] if row.protocol else []
    notes += [f"n {row.n}", f"seed {row.seed}"]
    return {
        "dataset": {"id": dataset, "task_id": task},
        "value": round(row.value, 4),
        "notes": "; ".join(notes),
    }


def _slug(*parts: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", "_".join(parts)).strip("_")
