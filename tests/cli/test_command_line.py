"""What all commands have in common, and doctor."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from email.message import Message
from importlib import import_module, metadata
from pathlib import Path

import pytest
import torch

from egat_hub.cli.main import COMMANDS, build_parser
from egat_hub.core.options import spelled

doctor = import_module("egat_hub.cli.doctor")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(call, name):
    called = call(name, "--help")
    assert called.code == 0
    assert f"\nexample: egat-hub {name}" in called.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "'egat-hub --help' lists the options"),
        ("explian", "No command 'explian'. Did you mean 'explain'?"),
        ("explain", "required: explain.model"),
        ("attack m photos --epsilom 3", "No option --epsilom. Did you mean '--epsilon'?"),
        ("attack m photos --epsilon x", "--epsilon: Expected a float. Got value: x"),
        (
            "evaluate m --split tset",
            "--split: Expected a Literal['train', 'val', 'test', 'all']. Got value: tset",
        ),
        ("train --steps 3", "No option --steps. Did you mean '--train.steps'?"),
        ("train --egat.attack_stepss 3", "Did you mean '--egat.attack_steps'?"),
    ],
)
def test_invalid_command_line_gives_one_line_with_a_suggestion(call, words, message):
    called = call(*words.split())
    assert (called.code, called.out) == (2, "")
    (line,) = called.err.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize("form", ["--epsilon 8/255", "--epsilon=8/255", "--epsilon 0.03137254901960784"])
def test_fractions_are_numbers(form):
    words = ["attack", "model", "1/255", *form.split(), "--options.step_size", "2/255"]
    parser, command = build_parser(words)
    parsed = parser.parse_args(spelled(command, words)).attack
    assert parsed.epsilon == 8 / 255
    assert parsed.options == {"step_size": 2 / 255}
    assert str(parsed.images) == "1/255"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_screen_and_has_no_markup(call, name):
    short, full = call(name, "--help").out, call(name, "--help-all").out
    assert short.count("\n") <= 70
    assert full.count("\n") >= short.count("\n")
    assert not re.search(r"``|:\w+:`", short + full)
    if name in ("train", "finetune", "sweep", "evaluate"):
        assert f"shown by 'egat-hub {name} --help-all': " in short


def test_defaults_of_zero_are_shown(call):
    assert re.search(r"--seed SEED .*\(default: 0\)", call("attack", "--help").out, re.DOTALL)


def test_a_closed_pipe_is_no_error():
    script = f"{sys.executable} -m egat_hub list --json | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[\n", "")


def test_ctrl_c_prints_one_line(call, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "doctor", interrupted)
    called = call("doctor")
    assert (called.code, called.err) == (1, "error: interrupted; the same command resumes\n")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to"), "Lower the batch size"),
        (
            RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 540032 vs 539920"),
            "disk full",
        ),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_out_of_memory_and_full_disk_print_one_line(call, monkeypatch, error, message):
    def failing():
        raise error

    monkeypatch.setattr(doctor, "doctor", failing)
    called = call("doctor")
    assert called.code == 1
    (line,) = called.err.splitlines()
    assert message in line


def test_bugs_keep_their_traceback(call, monkeypatch):
    monkeypatch.setattr(doctor, "doctor", lambda: [][0])
    with pytest.raises(IndexError):
        call("doctor")


def test_it_starts_as_a_program():
    words = [sys.executable, "-m", "egat_hub", "card", "nowhere"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: Expected the folder of a saved model")


def test_the_program_names_its_commands(call):
    called = call("--help")
    assert called.code == 0
    assert all(name in called.out for name in COMMANDS)


def test_commands_do_not_change_logging(call, tmp_path):
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


def test_doctor_lists_installed_and_missing_packages(call, monkeypatch):
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
