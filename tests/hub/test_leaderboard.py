"""Leaderboards hold what was measured, apart by protocol, and nothing else."""

from __future__ import annotations

import itertools
import re
import statistics

import pytest

from egat_hub.core.registry import UnknownNameError
from egat_hub.core.results import Row
from egat_hub.hub.tables import leaderboard

PGD = {"attack": "pgd", "epsilon": 0.01, "steps": 10, "restarts": 1}


def rows(method: str, values: dict[str, float], *, seed: int = 0, train: str = "photo") -> list[Row]:
    """A model's rows; a metric may name a test domain after a colon."""
    made = []
    for name, value in values.items():
        metric, _, domain = name.partition(":")
        protocol = (
            PGD
            if metric == "robust_accuracy"
            else {"q": 0.2, "map": "model"}
            if metric in ("comprehensiveness", "sufficiency")
            else {}
        )
        made.append(
            Row(
                "resnet18", method, "pacs", train, domain or train, "test", metric, value, 100, seed, protocol
            )
        )
    return made


EGAT = {
    "clean_accuracy": 92.5,
    "robust_accuracy": 51.25,
    "comprehensiveness": 40.5,
    "sufficiency": 30.5,
    "clean_accuracy:art": 60.0,
    "clean_accuracy:sketch": 70.0,
}
ERM = {
    "clean_accuracy": 95.0,
    "robust_accuracy": 1.5,
    "comprehensiveness": 35.0,
    "sufficiency": 45.0,
    "clean_accuracy:art": 50.0,
    "clean_accuracy:sketch": 40.0,
}


def test_models_are_sorted_best_first():
    board = leaderboard({"org/erm": rows("erm", ERM), "org/egat": rows("egat", EGAT)})
    assert [line.model for line in board.lines] == ["org/egat", "org/erm"]
    assert [str(heading) for heading in board.headings] == [
        "clean accuracy",
        "clean accuracy, mean of 2 other domains",
        "robust accuracy, attack pgd, epsilon 0.01, steps 10, restarts 1",
        "comprehensiveness, q 0.2",
        "sufficiency, q 0.2",
    ]
    cells = [cell.strip() for cell in board.markdown().splitlines()[2].strip("|").split("|")]
    fixed = ["1", "org/egat", "egat", "resnet18", "pacs", "photo"]
    assert cells == [*fixed, "92.50", "65.00", "51.25", "40.50", "30.50"]
    assert "org/egat" in board.text().splitlines()[2]
    for by, first in (
        ("clean_accuracy", "org/erm"),
        ("comprehensiveness", "org/egat"),
        ("sufficiency", "org/egat"),
    ):
        shown = leaderboard({"org/erm": rows("erm", ERM), "org/egat": rows("egat", EGAT)}, by=by)
        assert shown.lines[0].model == first


def test_text_fits_a_terminal_and_explains_its_columns():
    models = {
        f"org/a_model_of_a_long_name_{n}": rows(m, r)
        for n, (m, r) in enumerate((("egat", EGAT), ("erm", ERM)))
    }
    text = leaderboard(models).text()
    assert max(map(len, text.splitlines())) < 80
    assert "[3] robust accuracy, attack pgd, epsilon 0.01, steps 10, restarts 1" in text
    assert "1 more columns" in text
    both = leaderboard({"runs": [*rows("egat", EGAT), *rows("erm", ERM)]}).text()
    assert "runs egat photo" in both
    assert "runs erm photo" in both


def test_seeds_are_averaged_with_standard_deviation():
    values = [50.0, 52.0, 57.0]
    mine = [
        row
        for seed, value in enumerate(values)
        for row in rows("egat", {"robust_accuracy": value}, seed=seed)
    ]
    board = leaderboard({"runs": mine})
    assert len(board.lines) == 1
    assert f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}" in board.markdown()
    (figures,) = board.lines[0].figures.values()
    assert figures == (statistics.fmean(values), statistics.stdev(values), 3)


def test_rows_of_other_protocols_are_not_compared():
    """Every way in which the protocol differs gives a column of its own; the order follows one of them."""
    others = [{**PGD, key: value} for key, value in (("epsilon", 0.02), ("steps", 20), ("attack", "fgsm"))]
    models = {
        f"m{i}": [
            Row(
                "resnet18",
                "egat",
                "pacs",
                "photo",
                "photo",
                "test",
                "robust_accuracy",
                10.0 * i,
                100,
                0,
                protocol,
            )
        ]
        for i, protocol in enumerate([PGD, *others])
    }
    board = leaderboard(models)
    assert len(board.headings) == 4
    assert all(len(line.figures) == 1 for line in board.lines)
    assert board.lines[0].model == "m0"
    assert board.markdown().count(" - ") == 12


def test_controls_and_validation_are_left_out():
    control = Row("r", "egat", "pacs", "a", "a", "test", "comprehensiveness", 5.0, 10, 0, {"map": "random"})
    validation = Row("r", "egat", "pacs", "a", "a", "val", "clean_accuracy", 99.0, 10, 0)
    cost = Row("r", "egat", "pacs", "a", "a", "test", "training_seconds", 7.0, 1, 0)
    assert leaderboard({"x": [control, validation, cost]}).lines == ()


def test_every_number_is_in_the_results():
    """No number appears that is neither a value, a mean nor a deviation of the rows."""
    models = {
        "a": rows("egat", EGAT) + rows("egat", {"clean_accuracy": 91.0}, seed=1),
        "b|c": rows("erm", ERM),
    }
    board = leaderboard(models)
    values = {row.value for found in models.values() for row in found}
    means = {statistics.fmean(pair) for pair in itertools.product(values, repeat=2)}
    spreads = {statistics.stdev(pair) for pair in itertools.combinations(values, 2)}
    possible = {f"{value:.2f}" for value in values | means | spreads}
    body = board.markdown().split("\n", 2)[2]
    assert set(re.findall(r"\d+\.\d\d\b", body)) <= possible
    assert "b\\|c" in body


def test_invalid_arguments_raise():
    with pytest.raises(ValueError, match=r"Expected by among sufficiency, got 'stability'"):
        leaderboard({}, metrics=("sufficiency",), by="stability")
    with pytest.raises(UnknownNameError, match="No 'acc' among metrics"):
        leaderboard({}, by="acc")
    assert leaderboard({}).markdown().startswith("|")
