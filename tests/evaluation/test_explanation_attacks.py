"""Explanations under attack in evaluate(), against the attacks themselves."""

from __future__ import annotations

import math

import pytest
import torch

from egat_hub.attacks import EXPLANATION_ATTACKS
from egat_hub.core.randomness import SampleRandom
from egat_hub.evaluation import EvaluationConfig, evaluate, evaluate_per_image
from egat_hub.explanations import GradCAM
from egat_hub.explanations.similarity import STABILITY
from tests.helpers.training import CLASSES, SIZE, network

OPTIONS = {"optimizer_options": {"steps": 3}, "restarts": 2}
EPSILON = 0.01
NEW = {"explanation_attack_success", "flipped_predictions", "map_stability", "flipped_stability"}


def config(*names, **settings):
    return EvaluationConfig(
        **{
            "epsilons": (EPSILON, 0.02),
            "attack_options": {"steps": 1},
            "faithfulness": None,
            "explanation_attacks": names,
            "explanation_attack_options": OPTIONS,
            "seed": 3,
            **settings,
        }
    )


@pytest.fixture(scope="module")
def model():
    return network().eval()


@pytest.fixture(scope="module")
def dataset(model):
    """Images with the labels that the network gives them, but for the first four and every third."""
    images = torch.rand(11, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    labels = model(images).argmax(1)
    labels[:4] = (labels[:4] + 1) % CLASSES
    labels[::3] = (labels[::3] + 2) % CLASSES
    return list(zip(images, labels.tolist(), strict=True))


def test_rows_are_computed_on_correctly_classified_images(model, dataset):
    outcomes = evaluate_per_image(model, dataset, config(*EXPLANATION_ATTACKS, batch_size=4))
    images, labels = torch.stack([image for image, _ in dataset]), torch.tensor([y for _, y in dataset])
    correct = model(images).argmax(1) == labels
    assert 2 < correct.sum() < 7
    for name, cls in EXPLANATION_ATTACKS.items():
        attack = cls(**OPTIONS)
        found = attack(model, GradCAM(), images, EPSILON, random=SampleRandom(3, tuple(range(11))))
        mine = [o for o in outcomes if o.row.protocol.get("attack") == name]
        protocol = {
            "explanation": "grad_cam",
            "attack": name,
            "epsilon": EPSILON,
            **attack.protocol(GradCAM()),
        }
        known = correct & found.alive
        expected = {
            ("dead_map_pairs", None): (correct, 100 * ~found.alive),
            ("flipped_predictions", None): (known, 100 * ~found.same_prediction),
            ("explanation_attack_success", None): (known, 100 * found.success),
        }
        stability = "flipped_stability" if cls.flips else "map_stability"
        for measure in STABILITY:
            defined = known & (found.same_prediction != cls.flips)
            expected[stability, measure] = defined, found.agreement[measure]
        expected = {key: pair for key, pair in expected.items() if pair[0].any()}
        assert {(o.row.metric, o.row.protocol.get("measure")) for o in mine} == expected.keys()
        for row, values in mine:
            defined, figures = expected[row.metric, row.protocol.get("measure")]
            assert {k: v for k, v in row.protocol.items() if k != "measure"} == protocol
            assert row.n == defined.sum()
            assert [not math.isnan(value) for value in values] == defined.tolist()
            assert row.value == pytest.approx(figures[defined].float().mean().item(), abs=1e-4)


def test_other_rows_are_unchanged(model, dataset):
    plain = evaluate(model, dataset, config())
    more = evaluate(model, dataset, config("top_k"))
    assert not NEW & {row.metric for row in plain}
    assert [row for row in more if row.protocol.get("attack") != "top_k"] == plain


@pytest.mark.parametrize("settings", [{"epsilons": ()}, {"explanation": None}])
def test_no_attack_without_epsilon_or_explanation(model, dataset, settings):
    assert not NEW & {row.metric for row in evaluate(model, dataset, config("top_k", **settings))}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"explanation_attacks": ("topk",)}, KeyError, "Did you mean 'top_k'"),
        ({"explanation_attack_options": {"restarts": 0}}, ValueError, "at least 1 restart"),
    ],
)
def test_invalid_settings_raise_before_evaluation(settings, error, message):
    with pytest.raises(error, match=message):
        config("top_k", **settings)
