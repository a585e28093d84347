"""Names of models on the Hub."""

from __future__ import annotations

import re
from typing import NamedTuple

from huggingface_hub.utils import HFValidationError, validate_repo_id


class ModelId(NamedTuple):
    """A model on the Hub: ``organisation/name``, and a branch, tag or commit of it (None: ``main``)."""

    repo_id: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"

    @classmethod
    def parse(cls, text: str) -> ModelId:
        """Read ``"organisation/name"`` or ``"organisation/name@revision"``.

        Raises:
            ValueError: something else.
        """
        repo_id, at, revision = text.partition("@")
        if repo_id.count("/") != 1 or not _is_repo_id(repo_id) or (at and not _is_revision(revision)):
            raise ValueError(
                "Expected a model of the Hub as organisation/name or organisation/name@revision, got "
                f"{text!r}."
            )
        return cls(repo_id, revision or None)


def _is_repo_id(text: str) -> bool:
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def _is_revision(text: str) -> bool:
    """Git's names of branches and tags, less those that could leave a folder when used as a path."""
    return re.fullmatch(r"[A-Za-z0-9_][\w./+-]*", text) is not None and ".." not in text and "//" not in text
