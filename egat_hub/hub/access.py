"""How the Hub is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who asks the Hub, and where what it answers is kept.

    Attributes:
        token: a token, True for the one of this machine, False for none; by default that of this machine if
            there is one.
        cache_dir: folder of the cache; by default that of huggingface_hub.
        local_files_only: ask nobody, use what is in the cache.
    """

    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False
