"""Failing connections and disks: a clear error, nothing half published, and the next try succeeds."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download

from egat_hub.hub import push_to_hub, saving
from egat_hub.hub.layout import NEEDED
from egat_hub.hub.remote import download
from tests.helpers.local_hub import Fault

REPO = "org/dog"
KINDS = ("500", "503", "429", "403", "drop", "cut", "truncate")


@pytest.fixture(scope="session")
def contents(small_model) -> dict[str, bytes]:
    names = ("config.json", "egat.json", "results.json", "README.md")
    files = {name: (small_model / name).read_bytes() for name in names}
    return {**files, "model.safetensors": b"weights" * 3000}


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """Push without loading the model and writing its card, which connections have no part in."""
    monkeypatch.setattr(saving, "load_folder", lambda folder: None)
    monkeypatch.setattr(saving, "card_text", lambda folder, **_: (folder / "README.md").read_text())


def upload(contents: Mapping[str, bytes], repo_id: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            (Path(folder) / name).write_bytes(content)
        push_to_hub(folder, repo_id)


def stored(hub) -> dict[str, bytes]:
    repository = hub.store.repositories.get(("model", REPO))
    files = repository.files() if repository else {}
    return {path: file.content for path, file in files.items() if path != ".gitattributes"}


def failure(action, *args, **kwargs) -> OSError | None:
    """The error of an action, which must be a short one that names the repository."""
    try:
        action(*args, **kwargs)
    except OSError as error:
        failed = error
    else:
        return None
    assert "org/dog" in str(failed) or "Consistency check failed" in str(failed)
    assert len(str(failed)) < 600
    return failed


def push(contents) -> OSError | None:
    return failure(upload, contents, REPO)


def pull(cache: Path, **options) -> OSError | None:
    return failure(download, REPO, NEEDED, cache_dir=cache, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_failed_push_publishes_all_or_nothing(hub, contents, kind):
    before = dict(contents, **{"results.json": b"[]"})
    upload(before, REPO)
    hub.arm()
    upload(dict(before, **{"README.md": b"# Dog"}), REPO)
    for at in range(len(hub.requests)):
        hub.store.repositories.clear()
        upload(before, REPO)
        hub.arm(Fault(kind, at, 1000))
        error = push(contents)
        assert stored(hub) in (before, contents)
        assert error is not None or stored(hub) == contents
        hub.arm()
        assert push(contents) is None
        assert stored(hub) == contents


@pytest.mark.parametrize("kind", KINDS)
def test_failed_download_can_be_repeated(hub, contents, tmp_path, kind):
    upload(contents, REPO)
    hub.arm()
    assert pull(tmp_path / "requests") is None
    for at in range(len(hub.requests)):
        cache = tmp_path / str(at)
        hub.arm(Fault(kind, at, 1000))
        if pull(cache) is not None:
            assert pull(cache, local_files_only=True) is not None
        hub.arm()
        assert pull(cache) is None
        assert pull(cache, local_files_only=True) is None


def test_download_resumes_after_a_full_disk(hub, contents, tmp_path, monkeypatch):
    upload(contents, REPO)

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(file_download, "_download_to_tmp_and_move", fail)
        with pytest.raises(OSError, match="No space left"):
            download(REPO, NEEDED, cache_dir=tmp_path)
    assert pull(tmp_path) is None


def test_missing_network_raises(hub, contents, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert isinstance(push(contents), ConnectionError)
    assert pull(tmp_path) is not None
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "offline mode" in str(push(contents))
