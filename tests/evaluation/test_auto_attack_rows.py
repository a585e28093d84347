"""What AutoAttack says of itself, as result rows; what it will cost, as log lines."""

from __future__ import annotations

import importlib.util
import logging

import pytest
import torch

from egat_hub.evaluation import EvaluationConfig, evaluate
from tests.helpers.training import CLASSES, SIZE, network

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pyautoattack") is None, reason="pip install egat-hub[autoattack]"
)
PARTS = ["apgd_ce", "apgd_t", "fab_t", "square"]
FLAGS = ["randomness", "probability_outputs", "gradient_in_forward", "zero_margin_gradient", "square_better"]
EPSILONS = (0.002, 0.01)
COUNT = 9


def config(**settings):
    attack = {"attack": "auto_attack", "attack_options": {"iterations": 2, "queries": 3}}
    return EvaluationConfig(epsilons=EPSILONS, faithfulness=None, checks=0, **attack, **settings)


@pytest.fixture(scope="module")
def data():
    """Images with the classes that the network sees in them, but for two that it gets wrong."""
    images = torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    labels = network().eval()(images).argmax(1)
    labels[:2] = (labels[:2] + 1) % CLASSES
    return list(zip(images, labels.tolist(), strict=True))


@pytest.fixture(scope="module")
def rows(data):
    return evaluate(network(), data, config(batch_size=5))


def test_rows_have_the_worst_case_and_each_stage(rows):
    plan = "apgd_ce x1, apgd_t x4, fab_t x4, square x1"
    options = {"version": "standard", "iterations": 2, "queries": 3, "replaced": "4 of 9 targets"}
    for epsilon in EPSILONS:
        protocol = {"attack": "auto_attack", "epsilon": epsilon, **options, "plan": plan, "restarts": 1}
        (worst,) = [row for row in rows if row.metric == "robust_accuracy" and row.protocol == protocol]
        after = [
            row
            for row in rows
            if row.metric == "robust_accuracy_after" and protocol.items() <= row.protocol.items()
        ]
        assert [row.protocol["after"] for row in after] == PARTS
        values = [row.value for row in after]
        assert values == sorted(values, reverse=True)
        assert (values[-1], {row.n for row in after}) == (worst.value, {COUNT})
        assert values[0] <= 100 * (COUNT - 2) / COUNT


def test_flags_are_fractions_of_attacked_images(rows):
    first, second = (
        {
            row.protocol["check"]: row
            for row in rows
            if row.metric == "sanity_check" and row.protocol["epsilon"] == e
        }
        for e in EPSILONS
    )
    assert list(first) == list(second) == FLAGS
    assert {row.n for row in first.values()} == {COUNT - 2}
    protocol = first["zero_margin_gradient"].protocol
    expected = {"check": "zero_margin_gradient", "limit": 5.0, "attack": "auto_attack", "epsilon": 0.002}
    assert expected.items() <= protocol.items()
    assert protocol["iterations"] == 2
    assert {row.protocol["limit"] for row in first.values()} == {0.0, 5.0}
    left = next(row.value for row in rows if row.metric == "robust_accuracy")
    assert {row.n for row in second.values()} == {round(left * COUNT / 100)}


@pytest.mark.parametrize("batch_size", [1, 64])
def test_batch_size_does_not_change_results(data, rows, batch_size):
    for one, other in zip(rows, evaluate(network(), data, config(batch_size=batch_size)), strict=True):
        assert (one.metric, one.protocol, one.n) == (other.metric, other.protocol, other.n)
        assert one.value == pytest.approx(other.value, abs=1e-3)


def test_cost_of_the_attack_is_logged(data, caplog, capsys):
    evaluate(network(), data, config(batch_size=5, explanation=None))
    assert not caplog.records
    assert capsys.readouterr().out == ""
    caplog.set_level(logging.INFO, "egat_hub")
    evaluate(network(), data, config(batch_size=5, explanation=None))
    passes = 4 + (2 * 3 + 1) + 4 * (2 * 3 + 2) + 4 * (3 * 2 + 2 + 1) + (3 + 1 + 1)
    (record,) = caplog.records
    assert (
        f"up to {2 * passes:,} passes for an image that is never misclassified, {2 * passes * COUNT:,} in all"
        in record.getMessage()
    )
