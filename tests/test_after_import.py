"""An action follows the import of a package, once, and the package is as if nobody had watched."""

from __future__ import annotations

import importlib
import inspect
import sys
from importlib.util import find_spec

import pytest

from egat_hub.after_import import after_import


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "watched").mkdir()
    (tmp_path / "watched/__init__.py").write_text(
        "import os\nif os.environ.get('BREAK'): raise RuntimeError('broken')\nx = 1\n"
    )
    (tmp_path / "watched/inner.py").write_text("y = 2\n")
    before = list(sys.meta_path)
    yield "watched"
    sys.meta_path[:] = before
    for name in ("watched", "watched.inner"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("first", ["watched", "watched.inner"])
def test_the_action_follows_the_import_once(package, first):
    seen, finders = [], list(sys.meta_path)
    after_import(package, lambda: seen.append(sys.modules[package].x))
    assert find_spec(package) is not None  # looking is not importing
    assert seen == []
    importlib.import_module(first)
    assert seen == [1]
    assert sys.meta_path == finders
    module = sys.modules[package]
    assert module.__spec__.loader is module.__loader__
    assert "x = 1" in inspect.getsource(module)
    importlib.reload(module)
    assert seen == [1]


def test_an_imported_package_is_not_waited_for(package):
    seen = []
    importlib.import_module(package)
    after_import(package, lambda: seen.append(1))
    assert seen == [1]


def test_an_import_that_fails_may_succeed_later(package, monkeypatch):
    seen = []
    after_import(package, lambda: seen.append(1))
    monkeypatch.setenv("BREAK", "1")
    with pytest.raises(RuntimeError, match="broken"):
        importlib.import_module(package)
    assert seen == []
    monkeypatch.delenv("BREAK")
    importlib.import_module(package)
    assert seen == [1]


def test_a_package_that_is_not_there_stays_so():
    finders = list(sys.meta_path)
    after_import("no_such_package", lambda: None)
    try:
        assert find_spec("no_such_package") is None
        with pytest.raises(ModuleNotFoundError, match="no_such_package"):
            importlib.import_module("no_such_package")
    finally:
        sys.meta_path[:] = finders
