"""Commands that train: train and finetune, and the recipe that is finetune."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from egat_hub.core.results import read_rows
from egat_hub.hub import from_pretrained
from tests.experiments.conftest import base, pets  # noqa: F401

ROOT = Path(__file__).parents[2]
NETWORK = ("--model.name", "test_resnet", "--model.pretrained", "false", "--data.image_size", 32)
QUICK = (
    *("--train.steps", 2, "--train.batch_size", 4, "--train.lr", "1e-2", "--egat.attack_steps", 1),
    *("--evaluation.attack_options.steps", 2, "--evaluation.checks", 0),
)


def test_train_ends_in_a_model_with_a_card(call, tmp_path):
    words = (
        "train",
        *NETWORK,
        *QUICK,
        "--data",
        "synthetic",
        "--data.synthetic_size",
        30,
        "--domain",
        "meadow",
    )
    called = call(*words, "--epsilon", 0.02, "--output", tmp_path / "run", "--json")
    assert called.code == 0, called.err
    folder = Path(called.data["model"])
    assert folder == tmp_path / "run" / "model"
    model = from_pretrained(folder)
    assert model.metadata["method"] == "egat"
    assert model.metadata["config"]["epsilon"] == 0.02
    assert model.metadata["config"]["attack_steps"] == 1
    rows = read_rows(folder / "results.json")
    assert {row.protocol["epsilon"] for row in rows if row.metric == "robust_accuracy"} == {0.02}
    assert {row.test_domain for row in rows} == {"meadow", "desert", "ocean", "night"}
    again = call(*words, "--epsilon", 0.02, "--output", tmp_path / "run")
    assert again.code == 0
    assert "0/2" not in again.err
    assert str(folder) in again.out
    other = call(*words, "--epsilon", 0.03, "--output", tmp_path / "run")
    assert (other.code, "holds a run with other settings" in other.err) == (1, True)


def test_finetune_prints_results_before_and_after(call, base, pets, tmp_path):  # noqa: F811
    words = ("finetune", "--model", base, "--data-dir", pets, *QUICK, "--finetune.layer_decay", 0.8)
    called = call(*words, "--finetune.head_warmup", 1, "--output", tmp_path / "run", "--json")
    assert called.code == 0, called.err
    lines = {(line["model"], line["domain"]): line for line in called.data["lines"]}
    assert lines["before", "old"]["images"] == "synthetic, meadow"
    assert lines["after", "new"]["clean_accuracy"] is not None
    assert lines["after", "old"]["clean_accuracy"] is None
    model = from_pretrained(called.data["model"])
    assert model.label_names == ("cat", "dog", "owl")
    expected = {"layer_decay": 0.8, "head_warmup": 1, "freeze_backbone": False}
    assert model.metadata["finetune"] == expected
    text = call(*words, "--finetune.head_warmup", 1, "--output", tmp_path / "run").out
    assert (tmp_path / "run/before_after.md").read_text().strip() in text
    assert text.endswith(f"Model: {called.data['model']}\n")


def test_recipe_equals_the_command(tmp_path):
    words = [
        sys.executable,
        "recipes/finetune.py",
        "--model",
        str(tmp_path / "none"),
        "--data-dir",
        "nowhere",
    ]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().splitlines()[-1].startswith("error: data.dir nowhere is not a folder")


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        ("train --data synthetic", "name the --domain to train on"),
        ("train --data synthetic --domain medow", "Did you mean 'meadow'"),
        ("train --data synthetic --domain meadow --method egta", "Did you mean 'egat'"),
        ("train", "needs a folder (--data.dir)"),
        ("train --data-dir nowhere", "nowhere is not a folder"),
        ("finetune --model none/at/all --data synthetic --domain meadow", "which does not exist"),
        ("finetune --model resnet5O --data synthetic --domain meadow", "Did you mean 'resnet"),
        ("finetune --model resnet50", "needs a folder (--data.dir)"),
    ],
)
def test_invalid_arguments_exit_with_an_error(refused, words, pattern):
    refused(pattern, *words.split())


@pytest.mark.parametrize(
    "words",
    [
        "train --evaluation.epsilons 0.1",
        "finetune --model x --train.stepz 3",
    ],
)
def test_invalid_command_lines(call, words):
    assert call(*words.split()).code == 2
