"""Downloads from the Hugging Face Hub, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import snapshot_download
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

from egat_hub.hub.layout import NEEDED

LOGIN = "log in with `hf auth login`, set HF_TOKEN, or pass token=..."


@contextmanager
def hub_errors(action: str, repo_id: str) -> Iterator[None]:
    """Convert errors of huggingface_hub into built-in ones with a remedy.

    Raises:
        FileNotFoundError: no such model or revision, or not in the cache while offline.
        PermissionError: no token, an invalid one, or one without the right.
        ConnectionError: the Hub cannot be reached or failed.
        OSError: the disk is full or cannot be written.
    """
    try:
        yield
    except Exception as error:
        kind, reason = _explained(error, f"https://huggingface.co/{repo_id}")
        if kind is OSError:
            raise
        raise kind(f"{action} {repo_id}: {reason.rstrip('.')}.") from error


def _explained(error: Exception, url: str) -> tuple[type[OSError], str]:
    """The built-in error for one of huggingface_hub, and the reason; OSError for one to leave alone."""
    match error:
        case LocalTokenNotFoundError():
            return PermissionError, f"there is no token on this machine; {LOGIN}"
        case GatedRepoError():
            return PermissionError, f"it is gated. Ask for access at {url}, then {LOGIN}"
        case RepositoryNotFoundError():
            return (
                FileNotFoundError,
                f"the Hub has no such model, or it is private. For a private one, {LOGIN}",
            )
        case RevisionNotFoundError():
            return FileNotFoundError, f"no such revision; see {url}/branches"
        case LocalEntryNotFoundError() | OfflineModeIsEnabled():
            reason = "it is not in the cache, and the Hub cannot be reached or offline mode is on"
            return FileNotFoundError, reason
        case HfHubHTTPError():
            hints = {401: f"; {LOGIN}", 403: " Use a token with write access."}
            status = error.response.status_code
            kind = PermissionError if status in hints else ConnectionError
            return kind, f"{_first_line(error)}{hints.get(status, '')}"
        case OSError():
            return OSError, ""
    # errors of the HTTP library, which differs between releases
    return ConnectionError, f"{type(error).__name__}: {_first_line(error)}"


def is_repo_id(text: str) -> bool:
    """Whether a text is ``"org/name"``."""
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return text.count("/") == 1


def check_repo_id(text: str) -> None:
    """Raise a ValueError unless a text is ``"org/name"``."""
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
    """
    check_repo_id(repo_id)
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
