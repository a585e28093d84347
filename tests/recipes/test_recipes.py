"""The recipes parse, and so do the files beside them."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import pytest
import torch

from egat_hub.data import BENCHMARKS, DataConfig
from egat_hub.methods import METHODS
from tests.experiments.tiny import parsed

RECIPES = Path(__file__).parents[2] / "recipes"
BENCHMARK_OF = {"trade_off_curves": "pacs", "attack_curves": "pacs", "pareto": "pacs", "sensitivity": "vlcs"}
SCRIPTS = sorted(
    p for p in RECIPES.glob("*.py") if "SweepOptions" in p.read_text() and p.stem != "model_card"
)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_recipe_has_help(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name="__main__")
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for option in (
        "--config",
        "--data.dir",
        "--train.lr",
        "--evaluation.restarts",
        "--egat.lambda_adv",
    ):
        assert option in shown
    assert f"default: {BENCHMARK_OF.get(path.stem, path.stem)}" in shown


def test_the_benchmarks_have_recipes():
    assert {path.stem for path in SCRIPTS} >= set(BENCHMARKS)


def test_the_demo_parses():
    options = parsed("--config", str(RECIPES / "demo.yaml"))
    assert options.data.name == "synthetic"
    assert options.model.pretrained is False
    assert options.domains == ("meadow",)
    assert options.train.batch_size == 32
    assert options.methods == ("erm", "pgd_at", "trades", "egat")


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


def test_loaders_are_timed_beside_a_step(capsys):
    loading = runpy.run_path(str(RECIPES / "loading.py"))["loading"]
    data = DataConfig(image_size=32, synthetic_size=20)
    loading(data=data, model="test_resnet", batch_size=4, batches=2, rounds=1, workers=(0, 1), device="cpu")
    shown = capsys.readouterr().out
    assert "Domain(synthetic/meadow: 20 images, 5 classes), 32 px, batch 4" in shown
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines() if "|" in line]
    assert [row[:2] for row in cells[2:]] == [[n, kind] for n in "01" for kind in ("files", "memory")]
    assert all(float(value) > 0 for row in cells[2:] for value in row[2:])


@pytest.fixture
def unchanged():
    """What the recipe sets for its process is set back."""
    switches = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before, limit = [switch.allow_tf32 for switch in switches], torch._dynamo.config.cache_size_limit
    yield
    torch.set_flush_denormal(False)
    torch._dynamo.config.cache_size_limit = limit
    for switch, allowed in zip(switches, before, strict=True):
        switch.allow_tf32 = allowed


@pytest.mark.usefixtures("unchanged")
def test_steps_are_timed_beside_a_matrix_product(capsys):
    throughput = runpy.run_path(str(RECIPES / "throughput.py"))["throughput"]
    throughput(model="test_resnet", image_size=96, batch_size=16, rounds=1, device="cpu")
    shown = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines() if "|" in line]
    assert [row[0] for row in cells[2:]] == ["erm", "trades", "egat"]
    erm, trades, egat = (float(row[5]) for row in cells[2:])
    assert trades / erm == pytest.approx(27 / 3, rel=0.15)  # GFLOP are rounded
    assert egat / erm == pytest.approx(29 / 3, rel=0.15)
    assert [row[3] for row in cells[2:]] == ["3", "27", "29"]
    assert all(float(row[column].split()[0]) > 0 for row in cells[2:] for column in (4, 6))
    assert all(float(row[6].split()[0]) < 1.5 for row in cells[2:])


@pytest.mark.usefixtures("unchanged")
def test_steps_with_second_derivatives_are_not_compiled():
    throughput = runpy.run_path(str(RECIPES / "throughput.py"))["throughput"]
    with pytest.raises(ValueError, match="IGR takes second derivatives"):
        throughput(
            model="test_resnet", image_size=32, batch_size=2, compiled=True, methods=("igr",), device="cpu"
        )
