"""What pyproject.toml promises about the package holds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the content of the wheel built from this repository, beside the source archive."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("egat_hub", "docs", "recipes", "tests"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder / "source")
    build = (
        "from setuptools.build_meta import build_sdist, build_wheel; "
        f"build_wheel({str(folder)!r}); build_sdist({str(folder)!r})"
    )
    subprocess.run([sys.executable, "-c", build], check=True, capture_output=True, cwd=folder / "source")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_holds_every_file_of_the_package(installed):
    files = {
        (Path("egat_hub") / path.relative_to(origin)).as_posix()
        for origin, folder in ((ROOT / "egat_hub", "egat_hub"), (ROOT, "model_cards"))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert files == {
        path.relative_to(installed).as_posix()
        for path in (installed / "egat_hub").rglob("*")
        if path.is_file()
    }
    assert {"egat_hub/py.typed", "egat_hub/model_cards/synthetic-tiny/model.safetensors"} <= files


def test_the_source_distribution_holds_tests_recipes_and_documents(installed):
    (archive,) = installed.parent.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for folder in ("docs", "recipes", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert wanted | {"CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "constraints.txt"} <= names


def test_the_description_has_no_links_into_the_repository(installed):
    (file,) = installed.glob("*.dist-info/METADATA")
    targets = re.findall(r"\]\(([^)]+)\)", file.read_text(encoding="utf-8"))
    assert targets
    assert all(target.startswith("https://") for target in targets)


def test_the_shipped_model_works_from_the_wheel_without_a_network(installed, tmp_path):
    script = f"""
import os, socket, sys
os.chdir({str(tmp_path)!r})
sys.path.insert(0, {str(installed)!r})
def refuse(*_): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
import egat_hub, timm
assert egat_hub.__file__.startswith({str(installed)!r})
model = egat_hub.from_pretrained("synthetic-tiny")
info = egat_hub.model_info("synthetic-tiny")
egat_hub.register_timm_models()
assert str(info.weights).startswith({str(installed)!r})
egat_hub.register_timm_models()
weights = timm.create_model(info.timm_name, pretrained=True).state_dict()
assert all((weights[key] == value).all() for key, value in model.model.net.state_dict().items())
from PIL import Image
print(model.explain(Image.new("RGB", (80, 60))).label in model.label_names)
"""
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_the_version_is_one():
    version = PYPROJECT["project"]["version"]
    assert str(Version(version)) == version


@pytest.mark.parametrize("line", PYPROJECT["project"]["dependencies"])
def test_every_dependency_has_a_lower_bound_that_is_met_here(line):
    requirement = Requirement(line)
    assert [bound.operator for bound in requirement.specifier] == [">="]
    assert requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)


def test_importing_the_package_leaves_figures_and_data_sets_alone():
    heavy = ("captum", "datasets", "diffusers", "matplotlib", "pyautoattack", "transformers")
    script = f"import sys; from egat_hub import *; print(*[name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.split() == []
