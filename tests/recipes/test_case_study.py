"""The case study of saved models, by its command line."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import timm
import torch

from egat_hub.data import DataConfig, EvaluationView, open_dataset
from egat_hub.evaluation import EvaluationConfig
from egat_hub.experiments.plots import case_study_of
from egat_hub.hub import save_pretrained
from egat_hub.models import TimmModel

RECIPE = Path(__file__).parents[2] / "recipes" / "case_study.py"
DATA = DataConfig(synthetic_size=20, image_size=32)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    classes, folders = open_dataset(DATA, ["meadow"]).classes, []
    for seed, size in ((0, 32), (1, 32), (2, 64)):
        torch.manual_seed(seed)
        net = timm.create_model("test_resnet", num_classes=len(classes))
        folder = tmp_path_factory.mktemp("models") / "model"
        given = {"method": "erm" if seed else "egat", "train_domain": "meadow", "seed": 0}
        save_pretrained(TimmModel(net, image_size=size), folder, label_names=classes, metadata=given)
        folders.append(folder)
    return folders


@pytest.fixture
def draw(monkeypatch, capsys):
    def run(*words):
        given = [*map(str, words), "--data.synthetic_size", "20", "--attack-options", '{"steps": 2}']
        monkeypatch.setattr(sys, "argv", [str(RECIPE), *given])
        runpy.run_path(str(RECIPE), run_name="__main__")
        return capsys.readouterr().out.split()

    return run


def test_every_explanation_gives_a_figure(draw, models, tmp_path):
    words = ("--explanations", "grad_cam", "input_gradient", "--positions", "0", "1")
    drawn = draw(*models[:2], *words, "--output", tmp_path)
    assert drawn == [f"{tmp_path}/case_study_meadow_{name}.png" for name in ("grad_cam", "input_gradient")]
    assert all(Path(path).stat().st_size > 5000 for path in drawn)


@pytest.mark.parametrize(
    ("chosen", "words", "pattern"),
    [
        ((), (), "at least one model"),
        ((0, 2), (), "one image size, got 32, 64"),
        ((0,), ("--positions", "5"), "positions from 0 to 4, got 5"),
        ((0,), ("--explanations", "grad_kam"), "Did you mean 'grad_cam'"),
        ((0,), ("--domain", "medow"), "Did you mean 'meadow'"),
        ((0,), ("--epsilon", "8"), "8/255"),
    ],
)
def test_invalid_arguments_raise(draw, models, tmp_path, chosen, words, pattern):
    with pytest.raises(SystemExit, match=pattern):
        draw(*(models[i] for i in chosen), *words, "--output", tmp_path / "out")
    assert not list(tmp_path.rglob("*.png"))


def test_default_images_show_one_class_each(models):
    domain = open_dataset(DATA, ["meadow"])["meadow"]
    view = EvaluationView(domain, "test", image_size=32)
    torch.manual_seed(0)
    model = TimmModel(timm.create_model("test_resnet", num_classes=len(domain.classes)), image_size=32)
    figure = case_study_of({"one": model}, view, EvaluationConfig(attack_options={"steps": 1}))
    shown = [axes.get_xlabel() for axes in figure.axes[::4]]
    assert shown == [f"true: {name}" for name in domain.classes[:3]]
