"""The figures of a batch in a file, found again by what they are figures of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from egat_hub.engine.measuring import Column, Columns
from egat_hub.fingerprint import TOLERANCE
from egat_hub.whole_file import write_whole


def kept_batch(path: Path, key: Mapping[str, Any], logits: Tensor, compute: Callable[[], Columns]) -> Columns:
    """What ``compute`` gives, or gave when the file was written for the same key and the same logits.

    Args:
        path: the file; it appears whole or not at all, and is written anew where it does not fit.
        key: of JSON types; what defines the figures.
        logits: of the model on the clean batch [B,C], which tell another model or other images.
        compute: measures the batch.
    """
    if path.is_file():
        told = json.loads(path.read_text())
        before = torch.tensor(told["logits"]).to(logits)
        if told["key"] == json.loads(json.dumps(key)) and before.shape == logits.shape:
            scale = logits.abs().max().clamp_min(1)
            if (before - logits).abs().max() <= TOLERANCE * scale:
                return {
                    Column(metric, tuple(protocol.items())): torch.tensor(values)
                    for metric, protocol, values in told["columns"]
                }
    columns = compute()
    found = [(column.metric, dict(column.protocol), values.tolist()) for column, values in columns.items()]
    write_whole(path, json.dumps({"key": key, "logits": logits.tolist(), "columns": found}) + "\n")
    return columns
