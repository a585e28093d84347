"""Bad luck at every single request of a push and of a pull."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download

from egat_hub.hub import ChangedMeanwhileError, fetching
from egat_hub.hub.fetching import Access, fetch
from egat_hub.hub.layout import NEEDED, ModelId
from egat_hub.hub.publishing import PushOptions, publish
from tests.helpers.local_hub import KINDS, Fault

MODEL = ModelId("org/dog")
BRANCH = ModelId("org/dog", "main")
CLEAR = (FileNotFoundError, PermissionError, ConnectionError, ChangedMeanwhileError, OSError)
PUSH_REQUESTS, UPDATE_REQUESTS, PULL_REQUESTS = 9, 6, 7
QUICK = [kind for kind in KINDS if kind != "stall"]


@pytest.fixture(autouse=True)
def any_weights(monkeypatch):
    """What is fetched here are bytes of no network."""
    monkeypatch.setattr(fetching, "_check_weights_size", lambda *_: None)


@pytest.fixture(scope="session")
def contents(small_model) -> dict[str, bytes | Path]:
    names = ("config.json", "egat.json", "results.json", "README.md")
    return {**{name: small_model / name for name in names}, "model.safetensors": b"weights" * 3000}


def stored(hub, ref: str = "main") -> dict[str, bytes]:
    repository = hub.store.repositories.get(("model", MODEL.repo_id))
    files = repository.files(ref) if repository else {}
    return {path: file.content for path, file in files.items() if path != ".gitattributes"}


def as_bytes(contents) -> dict[str, bytes]:
    return {name: c if isinstance(c, bytes) else c.read_bytes() for name, c in contents.items()}


def push(contents) -> Exception | None:
    """The error that a push ended in; it must be a clear one."""
    failed = None
    try:
        publish(BRANCH, contents, PushOptions())
    except CLEAR as error:
        failed = error
    assert failed is None or (
        str(failed).startswith("Cannot publish org/dog@main: ") and len(str(failed)) < 600
    )
    return failed


def pull(cache: Path, expected: dict[str, bytes], **options) -> Exception | None:
    """The error that a pull ended in; it must be a clear one, and what is pulled must be what was pushed."""
    failed = None
    try:
        folder = fetch(MODEL, Access(cache_dir=cache, **options))
    except CLEAR as error:
        failed = error
    else:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
    assert failed is None or ("Cannot read org/dog" in str(failed) and len(str(failed)) < 600)
    return failed


def survive_push(hub, contents, fault: Fault, before: dict[str, bytes]) -> Exception | None:
    """Push with a fault: what is there is whole, the error says so, and a second push mends it."""
    whole = as_bytes(contents)
    hub.arm(fault)
    error = push(contents)
    assert len(hub.requests) > fault.at
    assert stored(hub) in (before, whole)
    assert (stored(hub) == whole) == (error is None) or "Whether the commit arrived is not known" in str(
        error
    )
    hub.arm()
    assert push(contents) is None
    assert stored(hub) == whole
    return error


def survive_pull(hub, cache: Path, contents, fault: Fault) -> Exception | None:
    """Pull with a fault: the cache has the model whole or not at all, and a second pull brings it."""
    expected = {name: as_bytes(contents)[name] for name in NEEDED}
    hub.arm(fault)
    error = pull(cache, expected)
    assert len(hub.requests) > fault.at
    assert not list(cache.rglob("*.incomplete"))
    assert (pull(cache, expected, local_files_only=True) is None) == (error is None)
    hub.arm()
    assert pull(cache, expected) is None
    return error


@pytest.mark.parametrize("kind", QUICK)
def test_one_failure_of_a_first_push(hub, contents, kind):
    for at in range(PUSH_REQUESTS):
        hub.store.repositories.clear()
        hub.store.objects.clear()
        error = survive_push(hub, contents, Fault(kind, at), {})
        assert hub.model("org/dog").messages == ["initial commit", "Add dog"]
        if kind in ("500", "503", "429", "drop"):  # tried again
            assert error is None


@pytest.mark.parametrize("kind", ["503", "drop", "cut"])
def test_failures_of_a_push_without_end(hub, contents, kind):
    for at in range(PUSH_REQUESTS):
        hub.store.repositories.clear()
        hub.store.objects.clear()
        assert isinstance(survive_push(hub, contents, Fault(kind, at, 1000), {}), ConnectionError)


@pytest.mark.parametrize("kind", ["500", "403", "412", "lost", "damage"])
def test_failures_of_an_update(hub, contents, kind):
    """An earlier version stays whole until the new one is."""
    old = {**contents, "results.json": b"[]", "model.safetensors": b"old" * 9000}
    for at in range(UPDATE_REQUESTS):
        hub.store.repositories.clear()
        hub.store.objects.clear()
        publish(BRANCH, old, PushOptions())
        survive_push(hub, contents, Fault(kind, at, 1000), as_bytes(old))


@pytest.mark.parametrize("kind", QUICK)
def test_one_failure_of_a_pull(hub, contents, tmp_path, kind):
    publish(BRANCH, contents, PushOptions())
    for at in range(PULL_REQUESTS):
        survive_pull(hub, tmp_path / str(at), contents, Fault(kind, at))


@pytest.mark.parametrize("kind", ["503", "cut", "truncate", "damage"])
def test_failures_of_a_pull_without_end(hub, contents, tmp_path, kind):
    publish(BRANCH, contents, PushOptions())
    for at in range(PULL_REQUESTS):
        error = survive_pull(hub, tmp_path / str(at), contents, Fault(kind, at, 1000))
        assert error is not None or kind == "damage"  # HEAD has no body to damage


def test_a_silent_hub(hub, contents, impatient, tmp_path):
    survive_push(hub, contents, Fault("stall", PUSH_REQUESTS - 1), {})
    for at in (0, 1, 2):
        survive_pull(hub, tmp_path / str(at), contents, Fault("stall", at))


@pytest.mark.filterwarnings("ignore:Cannot read org/dog")
@pytest.mark.parametrize("kind", ["503", "cut", "damage"])
def test_failures_of_a_pull_of_an_update(hub, contents, tmp_path, kind):
    """What was in the cache serves on, offline too, until the new version is there whole."""
    old = {**contents, "egat.json": b"{}"}
    first = publish(BRANCH, old, PushOptions()).commit
    second = publish(BRANCH, contents, PushOptions()).commit
    before, expected = ({name: as_bytes(files)[name] for name in NEEDED} for files in (old, contents))
    for at in range(3):
        cache = tmp_path / str(at)
        hub.model("org/dog").refs["main"] = first
        assert pull(cache, before) is None
        hub.model("org/dog").refs["main"] = second
        hub.arm(Fault(kind, at, 1000))
        try:
            error = pull(cache, expected)
        except AssertionError:
            assert at == 0  # the Hub did not even say that there is a new version
            error = None
        assert pull(cache, before if error or at == 0 else expected, local_files_only=True) is None
        hub.arm()
        assert pull(cache, expected) is None


@pytest.mark.parametrize("place", ["_download_to_tmp_and_move", "_create_symlink"])
def test_a_full_disk(hub, contents, tmp_path, monkeypatch, place):
    publish(BRANCH, contents, PushOptions())
    expected = {name: as_bytes(contents)[name] for name in NEEDED}
    function, room = getattr(file_download, place), 0

    def fill(*args, **kwargs):
        nonlocal room
        room -= 1
        if room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return function(*args, **kwargs)

    monkeypatch.setattr(file_download, place, fill)
    for files in range(len(NEEDED)):
        cache, room = tmp_path / str(files), files
        error = pull(cache, expected)
        assert error.errno == errno.ENOSPC
        assert "the disk is full. Make room, or name a cache_dir elsewhere" in str(error)
        assert pull(cache, expected, local_files_only=True) is not None
        room = 99
        assert pull(cache, expected) is None


def test_no_network(hub, contents, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "Nothing was published" in str(push(contents))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in str(push(contents))
