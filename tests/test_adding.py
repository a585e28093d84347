"""Adding something of your own takes a file and an import line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = """
from egat_hub.data.domains import SOURCES
from egat_hub.data.synthetic import open_synthetic

SOURCES.register("mine")(lambda config, domains=None: open_synthetic(config, domains))
"""
SCRIPT = """
from egat_hub.data import DataConfig, open_dataset
print(len(open_dataset(DataConfig(name="mine", synthetic_size=20))["meadow"]))
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the package with a new data set."""
    shutil.copytree(ROOT / "egat_hub", tmp_path / "egat_hub", ignore=shutil.ignore_patterns("model_cards"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "egat_hub/data/mine.py").write_text(SOURCE.lstrip())
    package = tmp_path / "egat_hub/data/__init__.py"
    package.write_text(package.read_text().replace("\n\n__all__", "\nimport egat_hub.data.mine\n\n__all__"))
    return tmp_path


def test_a_data_set_is_found_by_name(package):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=package,
        env={"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "20\n", done.stderr


@pytest.mark.skipif(not shutil.which("ruff", path=Path(sys.executable).parent), reason="needs ruff")
def test_linting_accepts_an_import_that_only_registers(package):
    ruff = [Path(sys.executable).parent / "ruff", "check", "--no-cache", "--select", "F", "egat_hub/data"]
    done = subprocess.run(ruff, cwd=package, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
