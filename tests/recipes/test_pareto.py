"""Cheaper training attacks: which runs they need, what they cost, and what is concluded."""

from __future__ import annotations

import csv

import pareto
import pytest
import step_times as step_times_module
import torch
from step_times import StepTime, step_times
from trade import Trade, front, pareto_figure, verdicts

from egat_hub.attacks import PGD as PGDAttack
from egat_hub.attacks import TRAINING_ATTACKS
from egat_hub.core.results import Row, Summary, read_rows
from egat_hub.experiments import ExtraAttack
from tests.experiments.tiny import NETWORK, runs_of, tiny

CHEAPER = [name for name in TRAINING_ATTACKS if name != "pgd"]


def trade(name, seconds, robust, base="pgd_at"):
    figures = {"gradients": Summary.of([1.0]), "seconds": Summary.of([seconds]), "clean": Summary.of([90.0])}
    return Trade(name=name, base=base, steps=60, robust=dict(enumerate(robust)), **figures)


ERM = trade("erm", 1, [10, 12], base="erm")
PGD = trade("pgd_at", 10, [50, 52])


def test_every_attack_is_one_more_run_beside_erm():
    words = ("--methods", "pgd_at", "trades", "--train.steps", "80", "--domains", "meadow", "--seeds", "0")
    runs = pareto.with_every_attack(runs_of(*words))
    names = [run.label for run in runs]
    assert names == [
        "erm",
        *(f"{base}{suffix}" for base in ("pgd_at", "trades") for suffix in ("", *(f" {c}" for c in CHEAPER))),
    ]
    by_name = {run.label: run.method_config for run in runs}
    assert by_name["pgd_at ramp"].training_attack_options == {"over": 80, "schedule": "quadratic"}
    assert {by_name[f"trades {name}"].training_attack for name in CHEAPER} == set(CHEAPER)


def test_strong_pgd_without_autoattack(monkeypatch):
    monkeypatch.setattr(pareto, "find_spec", lambda name: None)
    attack = pareto.full_attack()
    assert (attack.attack, attack.attack_options, attack.restarts) == ("pgd", {"steps": 50}, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--methods", "erm"), "at least one method that attacks"),
        (("--methods", "irm"), "that can train with any attack, got irm"),
        (("--methods", "pgd_at", "--pgd_at.training_attack", "ramp"), "leave out --pgd_at.training_attack"),
    ],
)
def test_invalid_comparisons_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        pareto.with_every_attack(runs_of(*arguments))


def attacked(n, **protocol):
    settings = {"attack": "pgd", "epsilon": 0.01, "restarts": 1, **PGDAttack().protocol(), **protocol}
    noted = {"model": "m", "dataset": "d", "train_domain": "a", "test_domain": "a", "split": "test"}
    return Row(**noted, method="pgd_at", metric="robust_accuracy", value=50.0, n=n, seed=0, protocol=settings)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["all"]),
        ({"images": 50}, ["drawn"]),
        ({"images": 400}, ["all"]),
        ({"attack_options": {"steps": 2}}, ["short"]),
        ({"restarts": 5}, []),
    ],
)
def test_attacks_of_one_name_are_distinguished_by_settings(options, expected):
    rows = {
        "all": attacked(400),
        "drawn": attacked(50, images=50),
        "short": attacked(400, steps=2, step_size=1.25),
    }
    attack = ExtraAttack(attack="pgd", **options)
    assert [name for name, row in rows.items() if pareto._is(row, attack, 0.01)] == expected


def test_timed_steps_use_the_training_settings(monkeypatch):
    seen = []
    monkeypatch.setattr(
        step_times_module,
        "training_step",
        lambda *a, **settings: seen.append((a[0], a[1], settings)) or (lambda: None),
    )
    words = ("--methods", "pgd_at", "--train.mixed_precision", "bf16", "--train.accumulation", "4")
    (run, *_) = runs_of(*NETWORK, *words)
    accelerated, entered = step_times_module.accelerated, []
    monkeypatch.setattr(
        step_times_module,
        "accelerated",
        lambda method, train: entered.append(method) or accelerated(method, train),
    )
    step_times([run], "abcde", 1)
    assert [method.config.attack_steps for method, _, _ in seen] == [1, 10]
    assert [method for method, _, _ in seen] == entered
    for method, images, settings in seen:
        assert (len(images), settings["precision"], settings["accumulation"]) == (8, torch.bfloat16, 4)
        assert method.training


def test_pareto_front_is_the_set_of_undominated_runs():
    slow, weak, best = trade("a", 9, [45, 45]), trade("b", 5, [20, 20]), trade("c", 4, [48, 48])
    assert front([PGD, slow, weak, best, ERM]) == [ERM, best, PGD]


def test_conclusion_requires_most_of_the_gain_in_half_the_time():
    trades = [
        ERM,
        PGD,
        trade("pgd_at a", 5, [49, 49]),
        trade("pgd_at b", 5.1, [52, 52]),
        trade("pgd_at c", 4, [30, 34]),
    ]
    lines = list(verdicts(trades))
    assert lines[0] == "pgd_at gains 40.0 ± 0.0 (n = 2) points over ERM in 10.0 minutes."
    assert [line.rsplit(" ", 1)[1] for line in lines[1:4]] == ["yes", "no", "no"]
    assert "keeps 52 ± 4 (n = 2) % in 0.40 of the time" in lines[3]
    assert lines[4].startswith("pgd_at a kept at least 95 % of the gain of pgd_at in at most 0.5 of its time")


def test_no_conclusion_without_a_gain():
    unsure = trade("pgd_at", 10, [5, 40])
    assert "not larger than its spread" in next(verdicts([ERM, unsure]))
    assert "no ERM of the same seeds" in next(verdicts([PGD]))


def test_time_is_linear_in_the_number_of_gradients():
    assert StepTime(0.3, 0.2).seconds(2.5) == pytest.approx(0.8)


def test_figure_has_a_panel_per_method_and_fills_undominated_points():
    other = trade("trades", 12, [55, 55], base="trades")
    figure = pareto_figure([ERM, PGD, trade("pgd_at a", 11, [30, 30]), other], "title", "caption")
    assert [axes.get_title() for axes in figure.axes] == ["pgd_at", "trades"]
    first, second = figure.axes
    points = {container.get_label(): container[0] for container in first.containers}
    assert {name: point.get_markerfacecolor() != "none" for name, point in points.items()} == {
        "erm": True,
        "pgd_at": True,
        "pgd_at a": False,
    }
    assert len({point.get_marker() for point in points.values()}) == 3
    assert [container.get_label() for container in second.containers] == ["erm", "trades"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("pareto")
    attack = ("--pgd_at.attack_steps", "3", "--methods", "pgd_at", "--evaluation.explanation", "null")
    further = ("--extra_attacks", "[{attack: pgd, attack_options: {steps: 3}, restarts: 2}]")
    log = ("--resources.log_every", "1")
    pareto.pareto(tiny(output, *attack, *further, *log))
    return output


def test_recipe_writes_rows_table_conclusions_and_figure(finished):
    assert {path.name for path in finished.iterdir() if path.is_file()} == {
        "pareto.csv",
        "pareto.json",
        "pareto.md",
        "pareto.tex",
        "pareto.yaml",
        "pareto_meadow.png",
    }
    names = {"erm", "pgd_at", *(f"pgd_at {name}" for name in CHEAPER)}
    rows = read_rows(finished / "pareto.json")
    assert {row.method for row in rows} == names
    assert {row.method for row in rows if row.metric == pareto.STEP_SECONDS} == names
    text = (finished / "pareto.md").read_text()
    assert "auto" not in text
    assert "restarts 2" in text
    lines = list(csv.DictReader((finished / "pareto.csv").open()))
    gradients = {li["method"]: float(li["mean"]) for li in lines if li["column"] == "gradients/step"}
    ramp, stopped = gradients.pop("pgd_at ramp"), gradients.pop("pgd_at early_stop")
    assert gradients == pytest.approx(
        {"erm": 0, "pgd_at": 3, "pgd_at fgsm_rs": 1, "pgd_at n_fgsm": 1, "pgd_at warm": 1}
    )
    assert ramp == pytest.approx((1 + 1 + 2) / 3)  # steps 0, 1 and 2 of 3, quadratic
    assert 1 <= stopped <= 3
