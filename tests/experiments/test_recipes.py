"""The recipes parse, and so do the files beside them."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import pytest

from egat_hub.data import BENCHMARKS
from egat_hub.methods import METHODS

from .tiny import parsed

RECIPES = Path(__file__).parents[2] / "recipes"
BENCHMARK_OF = {"fronts": "pacs", "attack_curves": "pacs", "pareto": "pacs", "sensitivity": "vlcs"}
OTHERS = ("backbones", "case_study", "finetune", "loading", "model_card", "peers", "runtime", "sca")
SCRIPTS = sorted(path for path in RECIPES.glob("*.py") if path.stem not in OTHERS)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_recipe_explains_itself(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name="__main__")
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for option in (
        "--config",
        "--data-dir",
        "--train.lr",
        "--evaluation.restarts",
        "--egat.lambda_adv",
    ):
        assert option in shown
    assert f"default: {BENCHMARK_OF.get(path.stem, path.stem)}" in shown


def test_the_benchmarks_have_recipes():
    assert {path.stem for path in SCRIPTS} >= set(BENCHMARKS)


def test_the_demo_parses():
    built = parsed("--config", str(RECIPES / "demo.yaml"))
    assert built.data.name == "synthetic"
    assert built.model.pretrained is False
    assert built.domains == ("meadow",)
    assert built.train.batch_size == 32
    assert [variant.name for variant in built.variants] == ["erm", "pgd_at", "trades", "egat"]


@pytest.mark.parametrize(
    "path", sorted((RECIPES / "paper").glob("table[12].csv")), ids=lambda path: path.stem
)
def test_published_tables_name_domains_that_exist(path):
    lines = list(csv.DictReader(path.read_text().splitlines()))
    assert lines
    for line in lines:
        known = BENCHMARKS[line["dataset"]].domains
        assert {line["train_domain"], line["test_domain"]} <= {*known, "average", "all"}, line
        float(line["value"])
    assert {line["method"] for line in lines} & set(METHODS)
