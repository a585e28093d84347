"""A search gives all methods the same budget, chooses on validation data, and says what it saw."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from egat_hub.core.results import read_rows
from egat_hub.experiments.search import Grid, _with_chosen
from tests.experiments.tiny import call_vlcs as call
from tests.experiments.tiny import runs_of

GRID = "igr: {lambda_igr: [0.0, 1000.0]}\nirm: {lambda_irm: [1, 2]}\n"
METHODS = ("--methods", "erm", "igr", "irm")


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def test_candidates_are_all_combinations():
    runs = runs_of("--methods", "erm", "egat", "--domains", "meadow")
    found = Grid({"egat": {"lambda_adv": [1, 2], "consistency": ["l1", "l2"]}}).trials(runs, 0.01)
    assert {(run.seed, run.split) for run in found} == {(0, "val")}
    configs = [(run.label, run.method_config) for run in found]
    assert [(label, config.lambda_adv, config.consistency) for label, config in configs] == [
        ("egat", 1, "l1"),
        ("egat", 1, "l2"),
        ("egat", 2, "l1"),
        ("egat", 2, "l2"),
    ]


def test_the_choice_is_used_for_all_seeds_and_recorded(tmp_path, grid):
    output = tmp_path / "out"
    call(output, *METHODS, "--seeds", "0", "1", "--search", str(grid))
    record = json.loads((output / "search.json").read_text())
    trials = record["trials"]
    assert [trial["method"] for trial in trials] == ["igr", "igr", "irm", "irm"]
    assert record["seed"] == 0
    for method, field in (("igr", "lambda_igr"), ("irm", "lambda_irm")):
        mine = [trial for trial in trials if trial["method"] == method]
        for trial in mine:
            (figures,) = trial["validation"].values()
            assert trial["score"] == pytest.approx(
                (figures["clean_accuracy"] + figures["robust_accuracy"]) / 2
            )
        (best,) = [trial for trial in mine if trial["chosen"]]
        assert best["score"] == max(trial["score"] for trial in mine)
        for seed in (0, 1):
            configs = [
                json.loads((folder / "config.json").read_text())["run"]["method_config"].get(field, 1.0)
                for folder in output.glob(f"{method}_meadow_seed{seed}_*")
                if list(folder.glob("outcomes_*"))
            ]
            assert configs == [best["config"][field]]
    assert {row.method for row in read_rows(output / "results.json")} == {"erm", "igr", "irm"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("igr: {lambda_igr: [1]}\nirm: {lambda_irm: [1, 2]}", "same number .* got igr 1, irm 2"),
        ("igr: {lambda: [1]}", "IGRConfig has no lambda"),
        ("egat: {lambda_adv: [1]}", "has egat, which --methods does not"),
        ("igr: {lambda_igr: [-1]}", "lambda_igr of at least 0, got -1"),
        ("igr: 3", "Expected lines such as"),
        ("igr: {lambda_igr: []}", "got igr 0"),
        ("", "Expected lines such as"),
    ],
)
def test_invalid_or_unequal_grids_raise(tmp_path, text, message):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        call(tmp_path / "out", *METHODS, "--search", str(path))
    assert re.search(message, str(stopped.value))
    assert not (tmp_path / "out").exists()


def test_missing_grid_file_raises(tmp_path):
    with pytest.raises(SystemExit, match=r"nowhere\.yaml"):
        call(tmp_path / "out", *METHODS, "--search", str(tmp_path / "nowhere.yaml"))


def trials_of(method, fields):
    return Grid({method: fields}).trials(runs_of("--methods", method, "--domains", "meadow"), 0.01)


def test_whole_numbers_and_their_decimals_are_the_same_setting():
    (found,) = trials_of("trades", {"beta": [6]})
    (run, *_) = runs_of("--methods", "trades", "--domains", "meadow")
    assert found.name == run.name
    assert isinstance(found.method_config.beta, float)


def test_text_where_a_number_belongs_raises():
    with pytest.raises(ValueError, match=r"lambda_igr of type float, got '1e-3'; in YAML write 1\.0e-3"):
        trials_of("igr", {"lambda_igr": ["1e-3"]})


def test_candidates_are_checked_before_any_training(tmp_path):
    (tmp_path / "grid.yaml").write_text("egat: {guide: [grayscale, grascale]}")
    with pytest.raises(SystemExit, match="Did you mean 'grayscale'"):
        call(tmp_path / "out", "--methods", "egat", "--search", str(tmp_path / "grid.yaml"))
    assert not list(tmp_path.rglob("log.jsonl"))


def test_the_ablation_follows_the_chosen_egat():
    runs = runs_of("--methods", "ablation", "--domains", "meadow", "--seeds", "0")
    egat = next(run.method_config for run in runs if run.label == "egat")
    chosen = {"egat": dataclasses.replace(egat, lambda_reg=0.3)}
    found = {run.label: _with_chosen(run, chosen).method_config for run in runs}
    assert found["egat"].lambda_reg == found["egat_without_at"].lambda_reg == 0.3
    assert found["egat_without_reg"].lambda_reg == 0
    assert found["erm"] == next(run.method_config for run in runs if run.label == "erm")


def test_robust_accuracy_is_that_at_the_epsilon_of_the_experiment(tmp_path, grid):
    output = tmp_path / "out"
    call(output, *METHODS, "--search", str(grid), "--epsilons", "0.0", "0.005")
    assert json.loads((output / "search.json").read_text())["epsilon"] == 0.01
