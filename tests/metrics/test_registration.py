"""A registered metric is measured and shown everywhere; no other place knows metrics by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import egat_hub
from egat_hub.core.metric import METRICS, Key, Metric, metric_of, register
from egat_hub.core.registry import UnknownNameError
from egat_hub.core.results import Outcome
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.experiments.tables.report import report
from egat_hub.hub.cards import render_card
from egat_hub.hub.tables import leaderboard
from egat_hub.metrics import EvaluationBatch
from tests.helpers.training import network, view


def confidence(batch: EvaluationBatch):
    return {Key("confidence"): 100 * batch.logits.softmax(1).amax(1)}


@pytest.fixture
def confidence_metric(monkeypatch):
    monkeypatch.setattr(METRICS, "_items", {**METRICS._items})
    register(
        Metric(
            name="confidence",
            title="mean confidence",
            about="probability of the predicted class, in %",
            better="higher",
            table="results",
            headline=True,
            measure=confidence,
        )
    )


def test_registered_metric_is_evaluated_and_shown_in_tables(confidence_metric):
    config = EvaluationConfig(metrics=("clean_accuracy", "confidence"), explanation=None, epsilons=())
    model, images = network().eval(), view("test")
    rows = evaluate(model, images, config, method="erm", train_domain="meadow")
    assert [row.metric for row in rows] == ["clean_accuracy", "confidence"]
    expected = [model(item["image"][None]).softmax(1).amax().item() for item in images]
    assert rows[1].value == pytest.approx(100 * sum(expected) / len(expected), abs=1e-3)
    shown = f"{rows[1].value:.2f}"
    card = render_card(
        rows=rows, metadata={}, label_names=list("abcde"), architecture="test_resnet", image_size=64
    )
    header, body = card.split("\n---\n", 1)
    assert "name: confidence" in header
    assert "`confidence`: probability of the predicted class, in %; higher is better." in body
    assert f" {shown} " in body
    board = leaderboard({"mine": rows}).markdown()
    assert "mean confidence" in board
    assert shown in board
    table = report([Outcome(row, [row.value]) for row in rows]).markdown()
    assert "| mean confidence" in table
    assert "mean confidence: probability of the predicted class" in table
    assert f"{rows[1].value:.1f}" in table


def test_metrics_with_settings_are_not_selected_by_name():
    with pytest.raises(ValueError, match="insertion_auc has its own option"):
        EvaluationConfig(metrics=("insertion_auc",))
    with pytest.raises(UnknownNameError, match="Did you mean 'clean_accuracy'"):
        EvaluationConfig(metrics=("clean_acc",))


def test_rows_of_unregistered_metrics_are_shown_by_name():
    assert metric_of("from_elsewhere").title == "from_elsewhere"


ALLOWED = {"experiments/tables/comparisons.py"}
"""Table II of the paper, which is about clean accuracy."""


def test_no_special_cases_for_metric_names():
    package = Path(egat_hub.__file__).parent
    treated = re.compile(r"""\bmetric (?:[!=]=|(?:not )?in) [({\[]?["']""")
    found = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    others = {name: path for name, path in found.items() if not name.startswith(("metrics/", "evaluation/"))}
    assert {name for name, path in others.items() if treated.search(path.read_text())} == ALLOWED
