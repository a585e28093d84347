"""A search gives all methods the same budget, chooses on validation data, and says what it saw."""

from __future__ import annotations

import json
import re

import pytest

from egat_hub.experiments.search import Grid
from egat_hub.results import read_rows

from .tiny import call, parsed

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
            assert trial["score"] == pytest.approx((figures["cAcc"] + figures["aAcc"]) / 2)
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


def test_machines_that_share_a_search_wait_for_each_other(tmp_path, grid, capfd):
    output = tmp_path / "out"
    command = (*METHODS, "--search", str(grid), "--share")
    call(output, *command, "1/2")
    assert "search is not finished" in capfd.readouterr().out
    assert len(list(output.glob("*/validation_*"))) == 2
    call(output, *command, "2/2")
    assert len(list(output.glob("*/validation_*"))) == 4
    assert "2 of 3 runs are not finished yet" in capfd.readouterr().out
    call(output, *command, "1/2")
    assert "not finished" not in capfd.readouterr().out


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
