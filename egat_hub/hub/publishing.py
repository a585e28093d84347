"""Bring a repository of the Hub to hold given files, by one commit or none."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import CommitInfo, ModelInfo

from egat_hub.hub.errors import CommitInDoubtError, hub_errors, is_passing
from egat_hub.hub.layout import CARD, MANIFEST
from egat_hub.hub.model_id import ModelId
from egat_hub.hub.plan import Contents, FileChange, plan
from egat_hub.hub.push import Push

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
