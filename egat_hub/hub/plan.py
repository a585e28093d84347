"""What a push would send: a model's files beside those that the Hub has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub.hf_api import RepoSibling

from egat_hub.eval_results import EVAL_RESULTS, PREFIX
from egat_hub.hub.digest import content_digest

State = Literal["new", "changed", "unchanged", "removed"]
Contents = Mapping[str, "bytes | Path"]
"""Content of files by their path in the repository: bytes, or a file to read them from."""


@dataclass(frozen=True)
class FileChange:
    """A file of a push.

    Attributes:
        path: where it lies in the repository.
        size: in bytes.
        state: ``"new"``, ``"changed"``, ``"unchanged"``, or ``"removed"``, which are evaluation results of an
            earlier push that no longer hold.
    """

    path: str
    size: int
    state: State


def plan(contents: Contents, present: Mapping[str, RepoSibling]) -> tuple[FileChange, ...]:
    """Compare files with those of a repository, by size and hash.

    Args:
        contents: the files to publish.
        present: the repository's files by path, with their hashes; empty for a new one.
    """
    changes = [
        FileChange(path, _size(content), _state(content, present.get(path)))
        for path, content in contents.items()
    ]
    changes += [
        FileChange(path, file.size or 0, "removed")
        for path, file in present.items()
        if path.startswith(f"{EVAL_RESULTS}/{PREFIX}") and path not in contents
    ]
    return tuple(changes)


def _state(content: bytes | Path, there: RepoSibling | None) -> State:
    if there is None:
        return "new"
    if there.lfs is not None:
        same = there.lfs.size == _size(content) and there.lfs.sha256 == content_digest(content, "sha256")
    else:
        same = there.blob_id == content_digest(content, "git")
    return "unchanged" if same else "changed"


def _size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
