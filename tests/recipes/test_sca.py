"""The recipe, from a saved model and a saved pipeline to a table."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import timm
import torch

from egat_hub.core.results import read_outcomes
from egat_hub.data import DataConfig, open_dataset
from egat_hub.hub import save_pretrained
from egat_hub.models import TimmModel
from tests.attacks.diffusion.conftest import folder, pipeline  # noqa: F401

RECIPE = Path(__file__).parents[2] / "recipes" / "sca.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    classes = open_dataset(DataConfig(synthetic_size=20), verify=False).classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = timm.create_model("test_resnet", num_classes=len(classes))
    saved = tmp_path_factory.mktemp("saved") / "model"
    training = {"method": "erm", "train_domain": "meadow", "seed": 3}
    save_pretrained(TimmModel(net, image_size=32), saved, label_names=classes, metadata=training)
    return saved


def run(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [str(RECIPE), *map(str, arguments)])
    runpy.run_path(str(RECIPE), run_name="__main__")


def test_a_saved_model_is_evaluated(model, folder, tmp_path, monkeypatch, capsys):  # noqa: F811
    run(
        monkeypatch,
        *("--model", model, "--diffusion", folder, "--precision", "float32", "--workers", 0),
        *("--data.synthetic_size", 20, "--latent-epsilons", 0, 0.3, 0.4, "--output", tmp_path / "out"),
    )
    shown = capsys.readouterr().out
    rows = [row for row, _ in read_outcomes(tmp_path / "out" / "outcomes.jsonl")]
    assert {(row.method, row.seed, row.dataset, row.test_domain) for row in rows} == {
        ("erm", 3, "synthetic", "meadow")
    }
    budgets = [row.protocol["latent_epsilon"] for row in rows if row.metric == "robust_accuracy"]
    assert sorted(budgets) == [0.0, 0.3, 0.4]
    assert "latent_epsilon 0.3" in shown
    assert list((tmp_path / "out" / "batches").iterdir())
