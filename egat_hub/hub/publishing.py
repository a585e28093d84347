"""One commit on the Hub, or none."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import CommitInfo, ModelInfo, RepoSibling

from egat_hub.hub.errors import CommitInDoubtError, hub_errors, is_passing
from egat_hub.hub.eval_results import EVAL_RESULTS, PREFIX
from egat_hub.hub.fetching import content_digest
from egat_hub.hub.layout import CARD, MANIFEST, ModelId

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


ATTEMPTS = 3
"""How often a push is tried when the Hub fails or somebody else commits at the same time."""

HARMLESS = {".gitattributes", ".gitignore", "LICENSE", CARD}
"""What a repository without a model of this package may hold, and yet be pushed to."""

NOTHING = "Nothing was published."
IN_DOUBT = "Whether the commit arrived is not known; push again, nothing is sent twice."


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """How to publish; the fields are those of :func:`egat_hub.push_to_hub`."""

    private: bool = False
    create_pr: bool = False
    commit_message: str | None = None
    token: str | bool | None = None
    dry_run: bool = False


def publish(target: ModelId, contents: Contents, options: PushOptions) -> Push:
    """Commit the files that differ from those on the branch; the errors are those of a push.

    Every attempt looks anew at what is there: it commits on top of what somebody else committed meanwhile,
    and finds a commit whose answer got lost instead of making it again.
    """
    api = HfApi(token=options.token, library_name="egat_hub")
    if options.dry_run:
        return Push(
            target.repo_id, str(target.revision), _plan(target, contents, _seen(api, target), options)
        )
    consequence = NOTHING
    for attempt in range(1, ATTEMPTS):
        try:
            return _attempt(api, target, contents, options, consequence)
        except OSError as error:
            if options.create_pr or not is_passing(error):
                raise
            if isinstance(error, CommitInDoubtError):
                consequence = IN_DOUBT
        time.sleep(2**attempt)
    return _attempt(api, target, contents, options, consequence)


def _attempt(api: HfApi, target: ModelId, contents: Contents, options: PushOptions, consequence: str) -> Push:
    """Look, compare, commit; ``consequence`` says what earlier attempts may have left on the Hub."""
    info = _opened(api, target, options, consequence)
    files = _plan(target, contents, info, options)
    push = Push(target.repo_id, str(target.revision), files, info.sha)
    if not push.changes:
        return push
    commit = _commit(api, target, contents, push, options, consequence)
    return Push(push.repo_id, push.revision, files, commit.oid, commit.pr_url)


def _plan(
    target: ModelId, contents: Contents, info: ModelInfo | None, options: PushOptions
) -> tuple[FileChange, ...]:
    present = {file.rfilename: file for file in (info.siblings if info else None) or ()}
    foreign = sorted(set(present) - HARMLESS)
    if foreign and MANIFEST not in present and not options.create_pr:
        raise FileExistsError(
            f"{target.repo_id} holds something else than a model of egat_hub ({', '.join(foreign[:3])}), "
            "which a push would mix with. Choose another name, or propose the model with create_pr=True."
        )
    return plan(contents, present)


def _seen(api: HfApi, target: ModelId) -> ModelInfo | None:
    """What the Hub has on the branch, or on ``main`` while there is no such branch."""
    with hub_errors(target, "read"):
        for revision in (target.revision, "main"):
            try:
                return api.model_info(target.repo_id, revision=revision, files_metadata=True)
            except RevisionNotFoundError:
                continue
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                return None
    return None


def _opened(api: HfApi, target: ModelId, options: PushOptions, consequence: str) -> ModelInfo:
    """What the Hub has on the branch; repository and branch are created where they are missing."""
    with hub_errors(target, "publish", consequence=consequence):
        try:
            return api.model_info(target.repo_id, revision=target.revision, files_metadata=True)
        except RevisionNotFoundError:
            pass
        except RepositoryNotFoundError:
            api.create_repo(target.repo_id, private=options.private, exist_ok=True)
        if target.revision != "main":
            api.create_branch(target.repo_id, branch=str(target.revision), exist_ok=True)
        return api.model_info(target.repo_id, revision=target.revision, files_metadata=True)


def _commit(
    api: HfApi, target: ModelId, contents: Contents, push: Push, options: PushOptions, consequence: str
) -> CommitInfo:
    operations = [
        CommitOperationDelete(file.path)
        if file.state == "removed"
        else CommitOperationAdd(file.path, _readable(contents[file.path]))
        for file in push.changes
    ]
    known = any(file.path == MANIFEST and file.state != "new" for file in push.files)
    message = f"{'Update' if known else 'Add'} {target.repo_id.partition('/')[2]}"
    with hub_errors(target, "publish", consequence=consequence, in_doubt=IN_DOUBT):
        return api.create_commit(
            target.repo_id,
            operations,
            commit_message=options.commit_message or message,
            revision=target.revision,
            parent_commit=push.commit,
            create_pr=options.create_pr,
        )


def _readable(content: bytes | Path) -> bytes | str:
    return content if isinstance(content, bytes) else str(content)
