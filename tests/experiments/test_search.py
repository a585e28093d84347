"""A search gives all methods the same budget, chooses on validation data, and says what it saw."""

from __future__ import annotations

import dataclasses
import json
import os
import re

import pytest

from egat_hub.core.results import read_rows
from egat_hub.experiments import sharing
from egat_hub.experiments.search import Grid
from egat_hub.experiments.variants import with_chosen
from tests.experiments.tiny import call, elsewhere, parsed

GRID = "igr: {lambda_igr: [0.0, 1000.0]}\nirm: {lambda_irm: [1, 2]}\n"
METHODS = ("--methods", "erm", "igr", "irm")


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def test_candidates_are_all_combinations():
    variants = parsed("--methods", "erm", "egat").variants
    found = Grid({"egat": {"lambda_adv": [1, 2], "consistency": ["l1", "l2"]}}).candidates(variants)
    assert [(v.name, v.config.lambda_adv, v.config.consistency) for v in found] == [
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
                json.loads((folder / "config.json").read_text())["method_config"][field]
                for folder in output.glob(f"{method}_meadow_seed{seed}_*")
                if list(folder.glob("outcomes_*"))
            ]
            assert configs == [best["config"][field]]
    assert {row.method for row in read_rows(output / "results.json")} == {"erm", "igr", "irm"}


def test_machines_that_share_a_search_wait_for_each_other(tmp_path, grid, monkeypatch):
    output = tmp_path / "out"
    call(output, *METHODS, "--search", str(grid))
    chosen = (output / "search.json").read_text()
    lost = next(output.glob("igr_*/validation_*")).parent
    for path in (*output.glob("*/outcomes_*"), output / "search.json", *lost.glob("validation_*")):
        path.unlink()
    claim = elsewhere(lost)

    def other_machine(seconds):
        assert not list(output.glob("*/outcomes_*"))
        os.utime(claim, (0, 0))

    monkeypatch.setattr(sharing.time, "sleep", other_machine)
    call(output, *METHODS, "--search", str(grid))
    assert (output / "search.json").read_text() == chosen
    assert len(list(output.glob("*/outcomes_*"))) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("igr: {lambda_igr: [1]}\nirm: {lambda_irm: [1, 2]}", "same number .* got igr 1, irm 2"),
        ("igr: {lambda: [1]}", "IGRConfig has no lambda"),
        ("egat: {lambda_adv: [1]}", "names egat, which --methods does not"),
        ("igr: {lambda_igr: [-1]}", "lambda_igr of at least 0, got -1"),
        ("igr: 3", "Expected lines such as"),
        ("igr: {lambda_igr: []}", "got igr 0"),
        ("", "Expected lines such as"),
    ],
)
def test_an_unfair_or_wrong_grid_is_refused(tmp_path, text, message):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        call(tmp_path / "out", *METHODS, "--search", str(path))
    assert re.search(message, str(stopped.value))
    assert not (tmp_path / "out").exists()


def test_a_grid_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"nowhere\.yaml"):
        call(tmp_path / "out", *METHODS, "--search", str(tmp_path / "nowhere.yaml"))


def test_whole_numbers_and_their_decimals_are_the_same_setting():
    variants = parsed("--methods", "trades").variants
    (found,) = Grid({"trades": {"beta": [6]}}).candidates(variants)
    assert found == variants[0]
    assert isinstance(found.config.beta, float)


def test_text_where_a_number_belongs_is_refused():
    variants = parsed("--methods", "igr").variants
    with pytest.raises(ValueError, match=r"lambda_igr of type float, got '1e-3'; in YAML write 1\.0e-3"):
        Grid({"igr": {"lambda_igr": ["1e-3"]}}).candidates(variants)


def test_candidates_are_checked_before_any_training(tmp_path):
    (tmp_path / "grid.yaml").write_text("egat: {guide: [grayscale, grascale]}")
    with pytest.raises(SystemExit, match="Did you mean 'grayscale'"):
        call(tmp_path / "out", "--methods", "egat", "--search", str(tmp_path / "grid.yaml"))
    assert not list(tmp_path.rglob("log.jsonl"))


def test_the_ablation_follows_the_chosen_egat():
    base = parsed("--methods", "ablation").variants
    egat = next(v for v in base if v.name == "egat")
    chosen = dataclasses.replace(egat, config=dataclasses.replace(egat.config, lambda_reg=0.3))
    found = {v.name: v.config for v in with_chosen(base, {"egat": chosen})}
    assert found["egat"].lambda_reg == found["egat_without_at"].lambda_reg == 0.3
    assert found["egat_without_reg"].lambda_reg == 0
    assert found["erm"] == next(v.config for v in base if v.name == "erm")


def test_robust_accuracy_is_that_at_the_epsilon_of_the_experiment(tmp_path, grid):
    output = tmp_path / "out"
    call(output, *METHODS, "--search", str(grid), "--epsilons", "0.0", "0.005")
    assert json.loads((output / "search.json").read_text())["epsilon"] == 0.01
