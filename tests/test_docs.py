"""What the documentation shows runs as written."""

from __future__ import annotations

import dataclasses
import importlib
import re
import runpy
import shlex
from pathlib import Path

import pytest
import timm
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from jsonargparse import ArgumentParser
from torch.nn import functional as F

from egat_hub import cli
from egat_hub.cli.main import COMMANDS
from egat_hub.core import config
from egat_hub.core.options import add_options, invoke, spelled
from egat_hub.core.registry import Registry
from egat_hub.data import DataConfig
from egat_hub.experiments import SweepOptions
from egat_hub.methods import METHODS, Method

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, ROOT / "README.md", ROOT / "docs/results/README.md"]
FUNCTIONS = ("case_study", "loading", "peers", "runtime", "sca", "throughput")
"""Recipes that are one function each, of their name."""
APART = ("backbones", "model_card")
"""Recipes with a parser of their own."""
ADDING = ROOT / "docs" / "adding_a_method.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
DEFAULT = re.compile(r"^\| `([\w.-]+)` \| (.+?) \| (stated|inferred|assumed) \| .+ \|$", re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text()) if found == language]


def shell_lines(page: Path) -> list[str]:
    return "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()


def commands(page: Path) -> list[list[str]]:
    return [
        shlex.split(line.replace("<run>", "run"), comments=True)
        for line in shell_lines(page)
        if "recipes/" in line and "--help" not in line
    ]


def program_lines(page: Path) -> list[list[str]]:
    """Arguments of the lines that call egat-hub."""
    lines = [shlex.split(line.replace("<run>", "run"), comments=True) for line in shell_lines(page)]
    return [words for program, *words in filter(None, lines) if program == "egat-hub"]


def pages(chosen: list[Path]) -> pytest.MarkDecorator:
    assert chosen
    return pytest.mark.parametrize("page", chosen, ids=[str(page.relative_to(ROOT)) for page in chosen])


def launched(command: list[str]) -> tuple[Path, list[str]]:
    """The recipe that a command starts, and its options."""
    if command[0] == "python":
        return Path(command[1]), command[2:]
    assert command[:2] == ["accelerate", "launch"]
    parsed = launch_command_parser().parse_args(command[2:])
    assert parsed.config_file is None or load_config_from_file(parsed.config_file)
    return Path(parsed.training_script), parsed.training_script_args


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The example of docs/adding_a_method.md as an installed package of somebody else."""
    (source,) = blocks(ADDING, "python")
    (project,) = blocks(ADDING, "toml")
    (tmp_path / "smooth_fgsm.py").write_text(source)
    info = tmp_path / "smooth_fgsm-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: smooth-fgsm\nVersion: 0.1\n")
    group, entry = re.findall(r'^\[project\.entry-points\."([\w.]+)"\]\n(.+)$', project, re.MULTILINE)[0]
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(METHODS, "_items", dict(METHODS._items))
    monkeypatch.setattr(METHODS, "_entry_points_loaded", False)
    yield
    importlib.sys.modules.pop("smooth_fgsm", None)


def smooth_fgsm(cls: type[Method], **options) -> Method:
    torch.manual_seed(0)
    return cls(timm.create_model("test_resnet", num_classes=4), **options)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.arange(4)


@pages([page for page in DOCS if page != ADDING and blocks(page, "python")])
def test_python_blocks_run(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {"__name__": "__main__"})


def test_the_example_is_found_by_its_entry_point(package):
    fresh: Registry[type[Method]] = Registry("methods")
    assert fresh["smooth_fgsm"] is METHODS["smooth_fgsm"]
    assert "smooth_fgsm" in list(METHODS)
    with pytest.raises(KeyError, match="Did you mean 'smooth_fgsm'"):
        METHODS["smoth_fgsm"]


def test_the_example_trains_a_step(package):
    images, labels = batch()
    method = smooth_fgsm(METHODS["smooth_fgsm"], epsilon=0.02, smoothing=0.3)
    result = method(images, labels)
    result["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    expected = 0.5 * F.cross_entropy(result["output"], labels, label_smoothing=0.3)
    torch.testing.assert_close(result["cls"], expected)
    assert result["adv"] > result["cls"]


def test_the_example_is_erm_without_attack_and_smoothing(package):
    plain = smooth_fgsm(METHODS["smooth_fgsm"], epsilon=0.0, smoothing=0.0)(*batch())["loss"]
    torch.testing.assert_close(plain, smooth_fgsm(METHODS["erm"])(*batch())["loss"])


def test_the_config_of_the_example_survives_a_file_and_refuses_nonsense(package):
    cls = METHODS["smooth_fgsm"].config_class
    parsed = cls(smoothing=0.2, epsilon=0.03)
    assert config.from_dict(cls, config.to_dict(parsed)) == parsed
    with pytest.raises(ValueError, match="Expected smoothing in"):
        cls(smoothing=1.5)
    with pytest.raises(ValueError, match="Expected clean between"):
        cls(clean=1.0)


@pages([page for page in PAGES if commands(page)])
def test_commands_parse(page, monkeypatch, package):
    monkeypatch.chdir(ROOT)
    for command in commands(page):
        path, options = launched(command)
        name = path.stem
        assert path.is_file()
        if name in COMMANDS:
            parse_program([name, *options])
        elif name in FUNCTIONS:
            parser = ArgumentParser()
            add_options(parser, runpy.run_path(str(path))[name])
            parser.parse_args(spelled(parser, options))
        elif name not in APART:
            invoke(SweepOptions, options, data=DataConfig(name))


def parse_program(words: list[str]) -> None:
    parser, command = cli.build_parser(words)
    parser.parse_args(spelled(command, words))


@pages([page for page in PAGES if program_lines(page)])
def test_commands_of_the_program_parse(page):
    for words in program_lines(page):
        parse_program(words)


def test_every_command_of_the_program_is_shown():
    shown = {line.split()[1] for line in shell_lines(ROOT / "docs/command_line.md") if line}
    assert shown == set(COMMANDS)


def test_the_defaults_of_the_paper_page_are_those_of_the_code():
    parsed = {name: value for name, value, _ in DEFAULT.findall((ROOT / "docs/paper.md").read_text())}
    given = [word for name, value in parsed.items() for word in (f"--{name}", *value.split())]
    options = [invoke(SweepOptions, words, data=DataConfig("vlcs")) for words in ([], given)]
    default, given = (each.run_config("egat", "Caltech101", 0) for each in options)
    assert default.image_size == given.image_size
    assert dataclasses.replace(default, data=given.data) == given
    fields = {f"egat.{name}" for name in config.to_dict(METHODS["egat"].config_class()) if name != "epsilon"}
    assert fields | {"epsilon"} <= set(parsed)


@pages(PAGES)
def test_files_that_are_named_exist(page):
    text = page.read_text()
    for path in re.findall(r"`((?:egat_hub|tests|recipes|docs)/[\w./]*)`", text):
        assert (ROOT / path).exists() or path == "egat_hub/methods/smooth_fgsm.py", path
    for target in re.findall(r"\]\(([\w./]+\.md)\)", text):
        assert (page.parent / target).exists(), target


@pages([*PAGES, ROOT / "CONTRIBUTING.md"])
def test_links_are_valid(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        if not link.startswith(("http:", "https:")):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
