"""The files of a model's folder or repository."""

from __future__ import annotations

import re

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
