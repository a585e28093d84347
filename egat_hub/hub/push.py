"""What a push sent."""

from __future__ import annotations

from dataclasses import dataclass

from egat_hub.hub.plan import FileChange


@dataclass(frozen=True)
class Push:
    """What a push sent, or would send; its text is a table of the files.

    Attributes:
        repo_id: the repository.
        revision: the branch.
        files: every file of the model and how it differs from what the Hub had.
        commit: the commit that holds the model now; None for a dry run.
        pull_request: address of the pull request, where one was opened.
    """

    repo_id: str
    revision: str
    files: tuple[FileChange, ...]
    commit: str | None = None
    pull_request: str | None = None

    @property
    def changes(self) -> tuple[FileChange, ...]:
        """The files that are not as they were."""
        return tuple(file for file in self.files if file.state != "unchanged")

    def __str__(self) -> str:
        state = "nothing was sent" if self.commit is None else f"now at {self.commit[:10]}"
        head = (
            f"{self.repo_id}@{self.revision}: {len(self.changes)} of {len(self.files)} files change, {state}"
        )
        return "\n".join([head, *(f"{file.state:9}  {file.size:>13,}  {file.path}" for file in self.files)])
