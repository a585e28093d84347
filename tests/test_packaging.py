"""What pyproject.toml promises about the package holds."""

from __future__ import annotations

import shutil
import subprocess
import sys
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
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]


def test_every_package_is_listed():
    found = {
        ".".join(folder.parent.relative_to(ROOT).parts) for folder in (ROOT / "egat_hub").rglob("__init__.py")
    }
    missing = found - set(SETUPTOOLS["packages"])
    assert not missing, f"Add to packages under [tool.setuptools] in pyproject.toml: {sorted(missing)}"


@pytest.mark.parametrize("package", SETUPTOOLS["packages"])
def test_what_is_listed_is_there(package):
    folder = SETUPTOOLS["package-dir"].get(package, package.replace(".", "/"))
    assert any((ROOT / folder).iterdir())


def test_type_hints_are_marked_as_such():
    assert "py.typed" in SETUPTOOLS["package-data"]["egat_hub"]
    assert (ROOT / "egat_hub" / "py.typed").is_file()


def test_the_card_template_travels_with_the_package():
    patterns = SETUPTOOLS["package-data"]["egat_hub.model_cards"]
    folder = ROOT / SETUPTOOLS["package-dir"]["egat_hub.model_cards"]
    assert folder / "template.md" in {path for pattern in patterns for path in folder.glob(pattern)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the content of the wheel that is built from this repository."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("egat_hub", "model_cards"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, folder / "source")
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], check=True, capture_output=True, cwd=folder / "source")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_holds_every_known_model(installed):
    kept = {
        path.relative_to(ROOT / "model_cards").as_posix()
        for pattern in ("*/*.json", "*/*.md", "*/*.safetensors", "template.md")
        for path in (ROOT / "model_cards").glob(pattern)
    }
    found = installed / "egat_hub/model_cards"
    assert kept <= {path.relative_to(found).as_posix() for path in found.rglob("*")}
    assert "synthetic-tiny/model.safetensors" in kept


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
(known,) = [known for known in egat_hub.list_models() if known.known_as == "synthetic-tiny"]
assert str(known.weights).startswith({str(installed)!r})
weights = timm.create_model(known.name, pretrained=True).state_dict()
assert all((weights[key] == value).all() for key, value in model.backbone.net.state_dict().items())
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
