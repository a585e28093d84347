"""Names of the package are imported when they are used."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("accelerate", "datasets", "huggingface_hub.hf_api", "matplotlib", "safetensors", "timm", "torch")


def heavy_imports(script: str) -> list[str]:
    """Which heavy packages a fresh interpreter has imported at the end of a script."""
    report = f"import sys; print('loaded', *[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\n{report}"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("package", ["egat_hub", "egat_hub.hub"])
def test_exported_names_exist_and_none_is_a_submodule(package):
    module = import_module(package)
    assert module.__all__
    for name in module.__all__:
        assert not isinstance(getattr(module, name), type(module)), f"{name} is a submodule too"
        assert name in dir(module)


def test_unknown_names_raise_as_usual():
    import egat_hub

    assert not hasattr(egat_hub, "EGTA")
    with pytest.raises(AttributeError, match="EGTA"):
        egat_hub.EGTA  # noqa: B018


@pytest.mark.parametrize(
    "script",
    [
        "import egat_hub",
        "import egat_hub; egat_hub.Row; egat_hub.list_models()",
        *(
            f"from egat_hub.cli import build_parser; build_parser({words})"
            for words in (["--help"], *([name, "--help"] for name in ("list", "doctor", "explain")))
        ),
        "from egat_hub.cli import main; main(['list'])",
    ],
)
def test_light_commands_do_not_import_torch(script):
    assert heavy_imports(script) == []


def test_torch_is_imported_when_it_is_needed():
    assert "torch" in heavy_imports("import egat_hub; egat_hub.EGAT")
