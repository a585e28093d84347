"""A whole evaluation costs little more than the passes that its figures are made of."""

from __future__ import annotations

import pytest
import torch

from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.metrics import CONTROLS
from egat_hub.metrics.training_cost import counted
from tests.helpers.training import CLASSES, SIZE, network

STEPS = 10


@pytest.fixture(scope="module")
def model():
    return network().eval()


def images(model, count: int, wrong: int):
    """Images of which the first ``wrong`` are misclassified and of the others few are broken."""
    found = torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    labels = model(found).argmax(1)
    labels[:wrong] = (labels[:wrong] + 1) % CLASSES
    return list(zip(found, labels.tolist(), strict=True))


def gradients(steps: int) -> int:
    """Forwards and backwards of an attack and the forward that verifies it."""
    return 2 * steps + 1


@pytest.mark.parametrize(("count", "wrong"), [(20, 0), (20, 8), (6, 6)])
def test_default_evaluation_takes_the_expected_time(model, count, wrong):
    right, data = count - wrong, images(model, count, wrong)
    with counted(model) as passes:
        rows = evaluate(model, data, EvaluationConfig(epsilons=(1e-5,)))
    assert next(row.value for row in rows if row.metric == "robust_accuracy") == pytest.approx(
        100 * right / count
    )
    clean, maps = count, 2 * (1 + len(CONTROLS)) * count
    of_the_right = gradients(STEPS) + 2 if right else 0  # attack, 8 bits, map of the attacked image
    unused = count if not right else 0  # every batch has the same figures: one map, of no use
    on_a_sample = 2 * STEPS + STEPS + 1 + STEPS  # more steps, larger epsilon, one step, huge epsilon
    signs = count * (1 + 1 + 2) + right * (2 * on_a_sample + 4 + 8)  # clean, again, gradient; random corners
    floor = clean + maps + right * of_the_right + signs
    repeated = right * gradients(STEPS)  # the attack itself, on the sample
    once = 4  # the first image: logits of the network and of its map, and whether they have a gradient
    assert passes.forward + passes.to_input == floor + repeated + unused + once
    assert passes.to_weights == passes.through_backward == 0
    assert passes.units <= 1.2 * floor


def test_misclassified_images_are_skipped(model):
    data = images(model, 12, 0)
    config = EvaluationConfig(epsilons=(0.3, 0.4), restarts=3, explanation=None, checks=0)
    with counted(model) as passes:
        rows = evaluate(model, data, config)
    assert all(row.value == 0 for row in rows if row.metric == "robust_accuracy")
    # one attack, and 8 bits at either budget; the gradient of the first image
    assert passes.units == 12 * (1 + gradients(STEPS) + 2) + 2
