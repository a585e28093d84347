"""What pyproject.toml promises about the package holds."""

from __future__ import annotations

import subprocess
import sys
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
    script = f"import egat_hub, sys; print(*[name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.split() == []
