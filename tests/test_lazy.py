"""Names are imported when they are used, and what is imported says so to type checkers too."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

LAZY = ("egat_hub", "egat_hub.hub")
ROOT = Path(__file__).parents[1]
HEAVY = ("accelerate", "datasets", "huggingface_hub.hf_api", "matplotlib", "safetensors", "timm", "torch")


def loaded_by(script: str) -> list[str]:
    """Which heavy packages a fresh interpreter has loaded at the end of a script."""
    report = f"import sys; print('loaded', *[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\n{report}"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.splitlines()[-1].split()[1:]


def told_to_type_checkers(package: str) -> dict[str, str]:
    """Names under ``if TYPE_CHECKING`` and the modules that they are from."""
    tree = ast.parse(Path(str(import_module(package).__file__)).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        str(alias.asname): str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_and_programs_see_the_same_names(package):
    module, told = import_module(package), told_to_type_checkers(package)
    assert sorted(told) == module.__all__
    for name, home in told.items():
        assert getattr(module, name) is getattr(import_module(home), name)
        assert name in dir(module)
        assert not (Path(str(module.__file__)).parent / f"{name}.py").exists(), f"{name} is a submodule too"


def test_submodules_are_there_and_nothing_else():
    import egat_hub

    assert egat_hub.core.results.Row is egat_hub.Row
    assert not hasattr(egat_hub, "EGTA")
    with pytest.raises(AttributeError, match="module 'egat_hub' has no attribute 'EGTA'"):
        egat_hub.EGTA  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'EGTA'"):
        exec("from egat_hub import EGTA")


def test_a_submodule_that_lacks_a_package_says_which(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lazily_made").mkdir()
    (tmp_path / "lazily_made/__init__.py").write_text(
        "from egat_hub.core.lazy import lazy_exports\n"
        "__getattr__, __dir__, __all__ = lazy_exports(__name__, {'inner': ('thing',)})\n"
    )
    (tmp_path / "lazily_made/inner.py").write_text("import no_such_package\n")
    made = import_module("lazily_made")
    for name in ("thing", "inner"):
        with pytest.raises(ModuleNotFoundError, match="no_such_package"):
            getattr(made, name)


@pytest.mark.parametrize(
    "script",
    [
        "import egat_hub",
        "import egat_hub; egat_hub.Row; egat_hub.list_models(); egat_hub.leaderboard({})",
        *(
            f"from egat_hub.cli import build_parser; build_parser({words})"
            for words in (["--help"], *([name, "--help"] for name in ("list", "doctor", "explain", "attack")))
        ),
        "from egat_hub.cli import main; main(['list']); main(['list', '--leaderboard'])",
    ],
)
def test_what_needs_no_network_starts_without_pytorch(script):
    assert loaded_by(script) == []


def test_what_needs_it_gets_it():
    assert "torch" in loaded_by("import egat_hub; egat_hub.EGAT")
