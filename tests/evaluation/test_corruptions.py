"""Accuracy under corruptions against a loop over single images, and what its rows say."""

from __future__ import annotations

import pytest
import torch

from egat_hub.core.randomness import SampleRandom
from egat_hub.data.corruptions import CORRUPTIONS, IMAGENET_C
from egat_hub.evaluation import EvaluationConfig, evaluate
from tests.helpers.training import CLASSES, SIZE, network

CHOSEN = ("gaussian_noise", "frost", "contrast")
PLAIN = {"epsilons": (), "explanation": None}


@pytest.fixture(scope="module")
def dataset():
    """Images and the labels that the network gives them, except for every fourth."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(13, 3, SIZE, SIZE, generator=generator)
    images *= torch.rand(13, 3, 1, 1, generator=generator)
    labels = network().eval()(images).argmax(1)
    labels[::4] = (labels[::4] + 1) % CLASSES
    return list(zip(images, labels.tolist(), strict=True))


def corrupted(rows):
    return {
        (r.protocol["corruption"], r.protocol["severity"]): r
        for r in rows
        if r.metric == "corruption_accuracy"
    }


@torch.no_grad()
def test_accuracy_equals_a_loop_over_corruptions(dataset):
    config = EvaluationConfig(**PLAIN, corruptions=CHOSEN, severities=(1, 4), seed=3, batch_size=5)
    rows = evaluate(network(), dataset, config)
    found, model, values = corrupted(rows), network().eval(), []
    for name in CHOSEN:
        for severity in (1, 4):
            right = [
                model(CORRUPTIONS[name](image[None], severity, SampleRandom(3, (index,)))).argmax().item()
                == label
                for index, (image, label) in enumerate(dataset)
            ]
            values.append(100 * sum(right) / len(right))
            assert found[name, severity].value == pytest.approx(values[-1])
            assert found[name, severity].n == len(dataset)
    assert len(set(values)) > 2
    (mean,) = [row for row in rows if row.metric == "mean_corruption_accuracy"]
    assert mean.value == pytest.approx(sum(values) / len(values))
    assert [row.metric for row in rows] == [
        "clean_accuracy",
        *["corruption_accuracy"] * 6,
        "mean_corruption_accuracy",
    ]


def test_rows_name_corruption_and_severity(dataset):
    rows = evaluate(
        network(), dataset[:2], EvaluationConfig(**PLAIN, corruptions=("all",), severities=(2, 5))
    )
    assert list(corrupted(rows)) == [(name, severity) for name in IMAGENET_C for severity in (2, 5)]
    lengths = {"lengths": "x shorter side / 224"}
    assert corrupted(rows)["fog", 5].protocol == {"corruption": "fog", "severity": 5, **lengths}
    assert corrupted(rows)["frost", 2].protocol["texture"] == "procedural"
    told = {"corruptions": "all 15 of ImageNet-C", "severities": "2, 5", "frost texture": "procedural"}
    assert rows[-1].protocol == {**told, **lengths}
    rows = evaluate(network(), dataset[:2], EvaluationConfig(**PLAIN, corruptions=("fog", "snow")))
    assert rows[-1].protocol == {"corruptions": "fog, snow", "severities": "1, 2, 3, 4, 5", **lengths}


def test_no_corruptions_by_default(dataset):
    assert EvaluationConfig().corruptions == ()
    assert [row.metric for row in evaluate(network(), dataset[:2], EvaluationConfig(**PLAIN))] == [
        "clean_accuracy"
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corruptions": ("fgo",)}, r"No 'fgo' among corruptions\. Did you mean 'fog'"),
        ({"corruptions": "all"}, r"Expected names of corruptions in a tuple, \('all',\)"),
        ({"severities": (0,)}, "Expected a severity from 1 to 5, got 0"),
        ({"severities": (3, 3)}, "Expected every severity once, got 3, 3"),
        ({"corruptions": ("fog",), "severities": ()}, "Expected severities among 1 to 5"),
    ],
)
def test_invalid_corruption_settings_raise(settings, message):
    with pytest.raises((ValueError, KeyError), match=message):
        EvaluationConfig(**settings)
