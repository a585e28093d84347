"""What goes wrong between here and the Hub, each with one message and a remedy."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from egat_hub.hub.layout import ModelId

CLIENT_ERRORS: tuple[type[Exception], ...] = (
    *(OSError, RuntimeError),
    *(ValueError, LookupError, TypeError, AttributeError, AssertionError),
    *HfHubHTTPError.__bases__,
)
"""Errors of huggingface_hub: of requests; of answers that are not as it expects them; and of requests without
an answer, whose class is that of the HTTP library it builds on, a base of its own."""

LOGIN = "log in with `hf auth login`, set HF_TOKEN, or pass token=..."


class ChangedMeanwhileError(OSError):
    """Somebody else changed the branch between looking at it and writing to it."""


class CommitInDoubtError(ConnectionError):
    """The answer to a commit got lost, so that it may have arrived or not."""


@contextmanager
def hub_errors(
    model: ModelId, doing: Literal["read", "publish"], *, consequence: str = "", in_doubt: str = ""
) -> Iterator[None]:
    """Turn errors of huggingface_hub into Python's own, with a message that says what to do.

    Args:
        model: which model.
        doing: what is being done.
        consequence: what the failure means for what is stored, a sentence.
        in_doubt: what is said instead if the Hub's answer got lost, which then is a CommitInDoubtError.

    Raises:
        FileNotFoundError: no such model, revision or file, or one that the token may not see.
        PermissionError: no token, an invalid one, or one without the right.
        ChangedMeanwhileError: somebody else wrote to the branch.
        ConnectionError: the Hub cannot be reached, failed, or answered with something else.
        OSError: the disk is full or cannot be written.
    """
    try:
        yield
    except CLIENT_ERRORS as error:
        raise _translated(error, model, doing, consequence, in_doubt) from error


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    return isinstance(error, (ConnectionError, ChangedMeanwhileError))


def _translated(error: Exception, model: ModelId, doing: str, consequence: str, in_doubt: str) -> OSError:
    kind, message = _explained(_origin(error), model, doing)
    if in_doubt and kind is ConnectionError:
        kind, consequence = CommitInDoubtError, in_doubt
    text = f"Cannot {doing} {model}: {message} {consequence}".rstrip()
    number = getattr(_origin(error), "errno", None)
    return kind(number, text) if kind is OSError and number is not None else kind(text)


def _origin(error: Exception) -> Exception:
    """The request's own error, where threads or retries of the client wrapped it."""
    cause = error.__cause__
    wraps = isinstance(error, (RuntimeError, LocalEntryNotFoundError))
    return _origin(cause) if wraps and isinstance(cause, Exception) else error


def _explained(error: Exception, model: ModelId, doing: str) -> tuple[type[OSError], str]:
    place = f"https://huggingface.co/{model.repo_id}"
    match error:
        case OfflineModeIsEnabled() if doing == "publish":
            return FileNotFoundError, "the Hub may not be asked while HF_HUB_OFFLINE is set. Go online."
        case OfflineModeIsEnabled() | LocalEntryNotFoundError():
            return FileNotFoundError, (
                "the Hub may not be asked (HF_HUB_OFFLINE or local_files_only), and it is not in the cache. "
                "Go online, or name the cache_dir that holds it."
            )
        case LocalTokenNotFoundError():
            return PermissionError, f"token=True needs a token on this machine; {LOGIN}."
        case GatedRepoError():
            return PermissionError, f"its owner decides who may. Ask for access at {place}, then {LOGIN}."
        case RepositoryNotFoundError():
            return FileNotFoundError, (
                f"the Hub has no such model, or it is private. Check the name; for a private one, {LOGIN}."
            )
        case RevisionNotFoundError():
            return (
                FileNotFoundError,
                f"it has no revision {model.revision!r}; see {place}/branches for those it has.",
            )
        case EntryNotFoundError():
            return FileNotFoundError, f"a file is missing there ({_first_line(error)})."
        case HfHubHTTPError():
            return _by_status(error)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return OSError, "the disk is full. Make room, or name a cache_dir elsewhere."
        case OSError() if error.errno is not None and not isinstance(error, ConnectionError):
            return OSError, f"{_first_line(error)}."
        case _:
            return ConnectionError, (
                f"the connection broke off or the answer was damaged ({type(error).__name__}: "
                f"{_first_line(error)}). Check the network and try again."
            )


def _by_status(error: HfHubHTTPError) -> tuple[type[OSError], str]:
    status, said = error.response.status_code, _first_line(error)
    if status == 401:
        return PermissionError, f"the Hub accepts no request without a valid token; {LOGIN}."
    if status == 403:
        return PermissionError, (
            f"this token has no right to ({said}). Use a token with write access to that organisation."
        )
    if status in (409, 412):
        return (
            ChangedMeanwhileError,
            "somebody else changed it meanwhile. Look at their change, then try again.",
        )
    if status == 429:
        return (
            ConnectionError,
            "the Hub asks for patience, too many requests (429). Try again in some minutes.",
        )
    if status >= 500:
        return ConnectionError, f"the Hub failed (status {status}). Try again later."
    return OSError, f"the Hub refused with status {status}: {said}."


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
