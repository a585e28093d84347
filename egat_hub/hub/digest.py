"""Hashes of files as the Hub states them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Literal


def content_digest(content: bytes | Path, kind: Literal["sha256", "git"]) -> str:
    """Hash of bytes or of a file, which is read block by block.

    Args:
        content: the bytes, or the file that holds them.
        kind: ``"sha256"`` for large files, ``"git"`` for others (SHA-1 of a git blob).
    """
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git":
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        digest.update(f"blob {size}\0".encode())
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
