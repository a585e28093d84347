"""Cores that this process may use."""

from __future__ import annotations

import os


def own_cores() -> int:
    """Number of those that it is allowed on, shared with the processes launched beside it."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, allowed // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
