"""What all commands have in common, and doctor."""

from __future__ import annotations

import logging
import subprocess
import sys
from email.message import Message
from importlib import import_module, metadata
from pathlib import Path

import pytest

from egat_hub.cli.main import COMMANDS

doctor = import_module("egat_hub.cli.doctor")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_by_an_example(call, name):
    called = call(name, "--help")
    assert called.code == 0
    assert f"\nexample: egat-hub {name}" in called.out


def test_every_command_has_its_file():
    files = {path.stem for path in (ROOT / "egat_hub/cli").glob("*.py")}
    assert set(COMMANDS) <= files


@pytest.mark.parametrize("words", [(), ("explian",), ("explain",), ("doctor", "--no-such-option")])
def test_a_command_line_that_cannot_be_read(call, words):
    called = call(*words)
    assert (called.code, called.out) == (2, "")


def test_it_starts_as_a_program():
    words = [sys.executable, "-m", "egat_hub", "card", "nowhere"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: Expected the folder of a saved model")


def test_the_program_names_its_commands(call):
    called = call("--help")
    assert called.code == 0
    assert all(name in called.out for name in COMMANDS)


def test_a_command_leaves_logging_as_it_was(call, tmp_path):
    logger = logging.getLogger("egat_hub")
    before = (logger.level, list(logger.handlers))
    call("card", str(tmp_path))
    assert (logger.level, logger.handlers) == before


class Installed:
    """The metadata of an installed package that needs one package and may use another, which is not there."""

    version = staticmethod(metadata.version)
    PackageNotFoundError = metadata.PackageNotFoundError

    def __init__(self, *requirements: str) -> None:
        self.requirements = requirements

    def requires(self, name: str) -> list[str]:
        return list(self.requirements)

    def describe(self, name: str) -> Message:
        told = Message()
        told["Provides-Extra"] = "more"
        return told

    metadata = describe


def test_doctor_says_what_is_there_and_what_is_missing(call, monkeypatch):
    monkeypatch.setattr(doctor, "metadata", Installed("torch", "no-such-package>=1 ; extra == 'more'"))
    called = call("doctor", "--json")
    found = {entry["what"]: entry for entry in called.data}
    assert called.code == 0
    assert found["torch"]["state"] == metadata.version("torch")
    extra = found["no-such-package (extra more)"]
    assert (extra["state"], extra["remedy"]) == ("missing", "pip install 'egat-hub[more]'")


def test_doctor_fails_where_something_needed_is_missing(call, monkeypatch):
    monkeypatch.setattr(doctor, "metadata", Installed("no-such-package>=1", "torch>=999"))
    called = call("doctor")
    assert called.code == 1
    assert "error: no-such-package: missing. pip install 'no-such-package>=1'" in called.err
    assert "error: torch: " in called.err


def test_doctor_is_offline_by_default(call, hub):
    assert "Hub account" not in call("doctor").out
    assert hub.requests == []
    assert "Hub account" in call("doctor", "--online").out


def test_doctor_looks_at_data(call, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "home" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "home" / name / f"{number}.jpg").touch()
    assert "6 images, classes: cat, dog" in call("doctor", "--data-dir", tmp_path).out
    called = call("doctor", "--data", "vlcs", "--data-dir", tmp_path)
    assert called.code == 1
    assert "unusable" in called.out
