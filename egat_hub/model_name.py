"""Names of models in timm's fashion."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def model_name(architecture: str, metadata: Mapping[str, Any]) -> str:
    """The model's name in timm's fashion, ``"resnet50.egat_vlcs"``."""
    parts = [str(metadata[key]).rpartition("/")[2] for key in ("method", "dataset") if metadata.get(key)]
    tag = re.sub(r"\W", "_", "_".join(parts), flags=re.ASCII)
    return f"{architecture}.{tag}" if tag else architecture
