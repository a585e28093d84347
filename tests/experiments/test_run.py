"""A whole sweep: what it writes, and that nothing is done twice."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys

import pytest
import timm
import torch

from egat_hub.core.results import read_outcomes, read_rows
from egat_hub.data import DataConfig
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.experiments import RunConfig, runner, sweep
from egat_hub.hub import from_pretrained
from egat_hub.models import ModelConfig
from egat_hub.training import TrainConfig
from tests.experiments.conftest import write_images
from tests.experiments.tiny import FOLDER
from tests.experiments.tiny import call_vlcs as call

TWO_BY_TWO = ("--methods", "erm", "egat", "--seeds", "0", "1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("finished") / "out"
    call(output, *TWO_BY_TWO)
    return output


@pytest.fixture
def copy(finished, tmp_path):
    """The finished sweep in a folder of the test's own."""
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def untrainable(monkeypatch):
    def train(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(runner, "train", train)


def runs(output):
    return sorted(path.parent for path in output.glob("*/config.json"))


def test_sweep_writes_every_run_and_the_comparison(finished):
    assert {path.name for path in finished.iterdir() if path.is_file()} == {
        "config.yaml",
        "results.json",
        "table.md",
        "table.tex",
        "table.csv",
        "case_study_meadow.png",
    }
    assert [run.name[:-11] for run in runs(finished)] == [
        f"{method}_meadow_seed{seed}" for method in ("egat", "erm") for seed in (0, 1)
    ]
    for run in runs(finished):
        assert {path.name for path in run.iterdir() if not path.name.startswith("outcomes_")} == {
            "config.json",
            "log.jsonl",
            "model",
        }
        assert len(list(run.glob("outcomes_*.jsonl"))) == 1
        files = {path.name for path in (run / "model").iterdir()}
        assert files == {
            "README.md",
            "case_study.png",
            "config.json",
            "egat.json",
            "model.safetensors",
            "results.json",
        }
        measured = [row for row, _ in read_outcomes(next(run.glob("outcomes_*.jsonl")))]
        cost = [row for row in measured if row.metric in ("step_cost", "training_seconds")]
        assert len(cost) == 2
        assert read_rows(run / "model" / "results.json") == [row for row in measured if row not in cost]
    rows = read_rows(finished / "results.json")
    assert {(row.method, row.seed) for row in rows} == {(m, s) for m in ("erm", "egat") for s in (0, 1)}
    assert {"clean_accuracy", "robust_accuracy", "comprehensiveness", "sufficiency"} <= {
        row.metric for row in rows
    }
    assert "| egat " in (finished / "table.md").read_text()


def test_second_call_returns_the_same_rows_without_work(copy, untrainable, monkeypatch):
    monkeypatch.setattr(runner, "evaluate_per_image", None)
    kept = [path for path in copy.rglob("*.*") if path.suffix in (".json", ".jsonl", ".md", ".safetensors")]
    before = [path.read_bytes() for path in kept]
    assert len(before) == 2 + 4 * 8
    call(copy, *TWO_BY_TWO)
    assert [path.read_bytes() for path in kept] == before


def test_missing_evaluation_is_run_without_training(copy, untrainable):
    before = read_rows(copy / "results.json")
    next(runs(copy)[0].glob("outcomes_*.jsonl")).unlink()
    call(copy, *TWO_BY_TWO)
    after = read_rows(copy / "results.json")
    assert [dataclasses.replace(row, value=0) for row in after] == [
        dataclasses.replace(row, value=0) for row in before
    ]
    assert [row.value for row in after] == pytest.approx([row.value for row in before], abs=1e-4)


def test_nothing_counts_as_finished_before_its_card_is_saved(copy, untrainable, monkeypatch):
    further = ("--methods", "erm", "--seeds", "0", "--extra_attacks", '[{"attack": "fgsm"}]')
    call(copy, *further)
    save = runner._Run._save

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner._Run, "_save", killed)
    other = (*further, "--evaluation.faithfulness", "null")
    with pytest.raises(SystemExit, match="interrupted"):
        call(copy, *other)
    monkeypatch.setattr(runner._Run, "_save", save)
    card = next(path for path in copy.glob("erm_*/model/README.md") if "seed0" in str(path))
    assert "omprehensiveness" in card.read_text()
    call(copy, *other)
    assert "omprehensiveness" not in card.read_text()


def test_other_measurements_need_no_training(copy, untrainable):
    other = ("--epsilons", "0.05", "--evaluation.faithfulness", "null", "--test_domains", "desert")
    call(copy, *TWO_BY_TWO, *other)
    rows = read_rows(copy / "results.json")
    assert {row.protocol["epsilon"] for row in rows if row.metric == "robust_accuracy"} == {0.01, 0.05}
    assert {row.test_domain for row in rows} == {"meadow", "desert"}
    assert "comprehensiveness" not in {row.metric for row in rows}


def test_accuracy_alone_needs_no_explanation(tmp_path):
    network = ("--model.name", "test_vit", "--model.options", '{"img_size": 32}')
    call(tmp_path, *network, "--evaluation.explanation", "null")
    metrics = {row.metric for row in read_rows(tmp_path / "results.json")}
    assert metrics == {
        "clean_accuracy",
        "robust_accuracy",
        "robust_accuracy_8bit",
        "sanity_check",
        "step_cost",
        "training_seconds",
    }
    assert not list(tmp_path.rglob("*.png"))


def test_interrupted_experiment_resumes(tmp_path, monkeypatch):
    arguments = (
        "--methods",
        "erm",
        "--train.steps",
        "6",
        "--resources.checkpoint_every",
        "2",
        "--resources.log_every",
        "1",
    )
    call(tmp_path / "whole", *arguments)
    step = runner.train.__globals__["_step"]
    steps = []

    def stopping(*args, **options):
        steps.append(args[4])
        if len(steps) == 6:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setitem(runner.train.__globals__, "_step", stopping)
    with pytest.raises(SystemExit, match="interrupted"):
        call(tmp_path / "stopped", *arguments)
    call(tmp_path / "stopped", *arguments)
    assert steps == [0, 1, 2, 3, 4, 5, 4, 5]
    (run,) = runs(tmp_path / "stopped")
    weights = [
        (tmp_path / name / run.name / "model/model.safetensors").read_bytes() for name in ("whole", "stopped")
    ]
    assert weights[0] == weights[1]
    rows = [
        [row for row in read_rows(tmp_path / name / "results.json") if row.metric != "training_seconds"]
        for name in ("whole", "stopped")
    ]
    assert rows[0] == rows[1]
    assert not (run / "checkpoints").exists()


def test_tables_follow_the_runs_that_are_finished(tmp_path, monkeypatch):
    train, trained = runner.train, []

    def stopping(*args, **options):
        trained.append(args[4].name)
        if len(trained) == 4:
            raise KeyboardInterrupt
        return train(*args, **options)

    monkeypatch.setattr(runner, "train", stopping)
    methods = ("--methods", "ablation", "erm", "--seeds", "0", "1")
    with pytest.raises(SystemExit, match="interrupted"):
        call(tmp_path, *methods)
    every = 8 * 2
    text = (tmp_path / "table.md").read_text()
    assert f"- 3 of {every} runs are finished; the others are not in these tables." in text
    assert {path.parent.name for path in tmp_path.glob("*/outcomes_*")} == set(trained[:3])
    assert len({(row.method, row.seed) for row in read_rows(tmp_path / "results.json")}) == 3
    monkeypatch.undo()
    call(tmp_path, *TWO_BY_TWO)
    assert "finished" not in (tmp_path / "table.md").read_text()


def test_interrupted_evaluation_resumes(copy, untrainable, monkeypatch):
    further = ("--extra_attacks", '[{"attack": "mi_fgsm", "images": 8}]', "--evaluation.batch_size", "4")
    measure, batches = sys.modules[evaluate.__module__].measure, []

    def stopping(*args, **options):
        batches.append(len(args[1]))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return measure(*args, **options)

    monkeypatch.setattr(sys.modules[evaluate.__module__], "measure", stopping)
    arguments = ("--methods", "erm", "--seeds", "1", *further)
    with pytest.raises(SystemExit, match="interrupted"):
        call(copy, *arguments)
    call(copy, *arguments)
    assert batches == [1, 4, 4, 1, 4]  # the first of each call is a check of the network
    assert not list(copy.rglob("*.journal"))
    rows = read_rows(copy / "results.json")
    attacked = [row for row in rows if row.protocol.get("attack") == "mi_fgsm"]
    assert [(row.metric, row.n, row.protocol["images"]) for row in attacked] == [
        ("robust_accuracy", 8, 8),
        ("robust_accuracy_8bit", 8, 8),
    ]
    assert [row.n for row in rows if row.metric == "clean_accuracy"] == [10]
    assert "aAcc 0.01 mi_fgsm" in (copy / "table.md").read_text()


def test_timm_and_this_package_load_the_same_model(finished):
    run = runs(finished)[0]
    classifier = from_pretrained(run / "model")
    net = timm.create_model(f"local-dir:{run / 'model'}", pretrained=True).eval()
    config = net.pretrained_cfg
    images = torch.rand(3, *config["input_size"], generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        torch.testing.assert_close(net((images - mean) / std), classifier.model(images))
    names = ["circle", "cross", "square", "star", "triangle"]
    assert list(classifier.label_names) == names
    assert list(config["label_names"]) == names
    metadata = json.loads((run / "model" / "egat.json").read_text())["metadata"]
    assert (metadata["method"], metadata["seed"], metadata["train_domain"]) == ("egat", 0, "meadow")


@pytest.fixture
def folder_run(tmp_path):
    """A finished run on a folder of images, the folder, and the words of its command."""
    images = write_images(tmp_path / "images", "home/cat", "home/dog", "home/owl")
    data = (*FOLDER, "--data.dir", str(images), "--domains", "home", "--test_domains", "home")
    call(tmp_path / "out", *data)
    return images / "home", data


def test_a_run_keeps_its_classes(folder_run, tmp_path):
    images, data = folder_run
    (images / "cat").rename(images / "zebra")
    with pytest.raises(SystemExit, match="has the classes cat, dog, owl; the data set now has dog, owl, z"):
        call(tmp_path / "out", *data, "--evaluation.restarts", "2")
    (model,) = tmp_path.glob("out/*/model")
    assert from_pretrained(model).label_names == ("cat", "dog", "owl")


def test_changed_images_raise_a_warning(folder_run, tmp_path):
    images, data = folder_run
    shutil.copy(images / "cat/0.png", images / "cat/new.png")
    with pytest.warns(UserWarning, match="The images have changed since the run"):
        call(tmp_path / "out", *data)


def test_batch_larger_than_the_data_raises_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="train.batch_size is 64, and meadow has 40 training images"):
        call(tmp_path, "--train.batch_size", "64", "--train.steps", "1")


def test_a_list_of_runs_is_a_sweep(tmp_path, capsys):
    run = RunConfig(
        method="erm",
        data=DataConfig(synthetic_size=60, image_size=32),
        domain="Meadow",
        model=ModelConfig(name="test_resnet", pretrained=False),
        train=TrainConfig(steps=2, batch_size=8),
        evaluation=EvaluationConfig(attack_options={"steps": 1}, checks=0),
        test_domains=("night",),
    )
    results = sweep([run, dataclasses.replace(run, seed=1)], tmp_path)
    assert [(found.config.domain, found.config.seed) for found in results] == [("meadow", 0), ("meadow", 1)]
    assert {row.test_domain for row in results[0].rows} == {"meadow", "night"}
    capsys.readouterr()
    assert [found.rows for found in sweep([run], tmp_path)] == [results[0].rows]
    assert "runs to do" not in capsys.readouterr().out
