"""Download models from the Hugging Face Hub and upload them, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from egat_hub.hub.eval_results import PREFIX
from egat_hub.hub.layout import CARD, EVAL_RESULTS, MANIFEST, NEEDED

LOGIN = "log in with `hf auth login`, set HF_TOKEN, or pass token=..."

UNRELATED = {".gitattributes", ".gitignore", "LICENSE", CARD}
"""Files of a repository that do not stop a model from being pushed to it."""


@contextmanager
def hub_errors(action: str, repo_id: str) -> Iterator[None]:
    """Convert errors of huggingface_hub into built-in ones with a remedy.

    Args:
        action: start of the message, ``"Cannot load"``.
        repo_id: the repository.

    Raises:
        FileNotFoundError: no such model or revision, or not in the cache while offline.
        PermissionError: no token, an invalid one, or one without the right.
        ConnectionError: the Hub cannot be reached or failed.
        OSError: the disk is full or cannot be written.
    """
    kind: type[OSError] = FileNotFoundError
    cause: Exception
    try:
        yield
        return
    except LocalTokenNotFoundError as error:
        kind, reason, cause = PermissionError, f"there is no token on this machine; {LOGIN}", error
    except GatedRepoError as error:
        place = f"https://huggingface.co/{repo_id}"
        kind, reason, cause = PermissionError, f"it is gated. Ask for access at {place}, then {LOGIN}", error
    except RepositoryNotFoundError as error:
        reason, cause = f"the Hub has no such model, or it is private. For a private one, {LOGIN}", error
    except RevisionNotFoundError as error:
        reason, cause = f"no such revision; see https://huggingface.co/{repo_id}/branches", error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        reason = "it is not in the cache, and the Hub cannot be reached or offline mode is on"
        cause = error
    except HfHubHTTPError as error:
        status = error.response.status_code
        kind = PermissionError if status in (401, 403) else ConnectionError
        hint = f"; {LOGIN}" if status == 401 else " Use a token with write access." if status == 403 else ""
        reason, cause = f"{_first_line(error)}{hint}", error
    except OSError:
        raise
    except Exception as error:  # errors of the HTTP library, which differs between releases
        kind, reason, cause = ConnectionError, f"{type(error).__name__}: {_first_line(error)}", error
    raise kind(f"{action} {repo_id}: {reason.rstrip('.')}.") from cause


def is_repo_id(text: str) -> bool:
    """Whether a text is ``"org/name"``."""
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return text.count("/") == 1


def _check_repo_id(text: str) -> None:
    if not is_repo_id(text):
        raise ValueError(f"Expected org/name of a repository on the Hub, got {text!r}.")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def download(
    repo_id: str,
    files: Sequence[str],
    *,
    revision: str | None = None,
    subfolder: str = "",
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """Download files of one commit, and no others, and return their folder in the cache.

    Without a connection, the files in the cache are used. The errors are those of :func:`hub_errors`.

    Raises:
        FileNotFoundError: also a repository that lacks a file of :data:`~egat_hub.hub.layout.NEEDED`.
    """
    _check_repo_id(repo_id)
    prefix = f"{subfolder.strip('/')}/" if subfolder else ""
    with hub_errors("Cannot load", repo_id):
        snapshot = snapshot_download(
            repo_id,
            revision=revision,
            allow_patterns=[f"{prefix}{name}" for name in files],
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
        )
    folder = Path(snapshot) / prefix
    missing = [name for name in files if name in NEEDED and not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{repo_id} has no {prefix}{missing[0]}, so it is not a model of egat_hub. For a model of timm, "
            f"use timm.create_model('hf-hub:{repo_id}', pretrained=True). Weights in pickle "
            "files are never read."
        )
    return folder


def upload(
    contents: Mapping[str, str | bytes],
    repo_id: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | bool | None = None,
) -> CommitInfo:
    """Upload files in one commit; those that the repository has already are not sent.

    Evaluation results of an earlier push that are not among the files are deleted in the same commit.

    Args:
        contents: content of the files, or paths to read them from, by path in the repository.
        repo_id: the repository, created if it is missing.
        revision: branch to commit to, created if it is missing; default: ``main``.
        private: whether a new repository is private.
        create_pr: open a pull request instead.
        commit_message: first line of the commit.
        token: as for :func:`egat_hub.from_pretrained`.

    Raises:
        FileExistsError: the repository holds something else than a model of this package.
        PermissionError: no token, an invalid one, or one without the right.
        ConnectionError: the Hub cannot be reached or failed.
    """
    _check_repo_id(repo_id)
    api = HfApi(token=token, library_name="egat_hub")
    with hub_errors("Cannot push to", repo_id):
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        present = set(api.list_repo_files(repo_id, revision=revision))
    foreign = sorted(present - UNRELATED)
    if foreign and MANIFEST not in present and not create_pr:
        raise FileExistsError(
            f"{repo_id} holds something else than a model of egat_hub ({', '.join(foreign[:3])}). Choose "
            "another name, or propose the model with create_pr=True."
        )
    outdated = {name for name in present if name.startswith(f"{EVAL_RESULTS}/{PREFIX}")} - set(contents)
    name = repo_id.partition("/")[2]
    with hub_errors("Cannot push to", repo_id):
        return api.create_commit(
            repo_id,
            [
                *(CommitOperationAdd(path, content) for path, content in contents.items()),
                *(CommitOperationDelete(path) for path in sorted(outdated)),
            ],
            commit_message=commit_message or f"{'Update' if MANIFEST in present else 'Add'} {name}",
            revision=revision,
            create_pr=create_pr,
        )
