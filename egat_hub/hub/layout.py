"""The files of a model's folder or repository."""

from __future__ import annotations

import re
from pathlib import Path

from egat_hub.eval_results import EVAL_RESULTS
from egat_hub.timm_folder import CONFIG, WEIGHTS

MANIFEST = "egat.json"
RESULTS = "results.json"
CARD = "README.md"
ENTRY = "zoo.json"

NEEDED = (CONFIG, WEIGHTS, MANIFEST)
"""What a model cannot be loaded without, and all that is ever fetched to load one."""


def is_figure(name: str) -> bool:
    """Whether a file name is one that figures are saved under."""
    return re.fullmatch(r"[A-Za-z0-9_-]+\.png", name) is not None


def is_ours(name: str) -> bool:
    """Whether a file or folder of that name may be in a folder that saving replaces."""
    return name in (*NEEDED, RESULTS, CARD, EVAL_RESULTS) or name.endswith(".png")


def model_folder(folder: Path) -> Path:
    """The folder of a model: ``model/`` in the folder of a run, or else ``folder`` itself."""
    inner = folder / "model"
    return inner if inner.is_dir() and not (folder / MANIFEST).exists() else folder
