"""timm knows the models of this release whichever is imported first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from egat_hub.hub.zoo import shipped

ROOT = Path(__file__).parents[2]
LISTED = "print(*timm.list_models('*egat*', pretrained=True))"
LOADED = "print(timm.create_model({!r}, pretrained=True).num_classes)"


def printed(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.strip()


@pytest.mark.parametrize("imports", ["import timm, egat_hub", "import egat_hub; egat_hub.EGAT; import timm"])
def test_both_orders(imports):
    models = [model for model in shipped() if model.weights or model.repo_id]
    assert models, "This release ships a model."
    here = next(model for model in models if model.weights)
    script = f"{imports}; {LISTED}; {LOADED.format(here.name)}"
    listed, classes = printed(script).splitlines()
    assert sorted(listed.split()) == sorted(model.name for model in models)
    assert int(classes) == here.num_classes


def test_a_timm_that_takes_no_names_is_imported_all_the_same():
    script = (
        "import warnings\n"
        "import egat_hub.hub.zoo as index\n"
        "index.known_models = lambda: {'x': None}\n"
        "with warnings.catch_warnings(record=True) as said:\n"
        "    warnings.simplefilter('always')\n"
        "    import timm\n"
        "print([str(w.message) for w in said if 'egat_hub' in str(w.message)])\n"
    )
    assert "does not take the names of egat_hub's models" in printed(script)
