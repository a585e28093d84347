"""Every sanity check fails on a model made for it, and none on sound ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from egat_hub.attacks import FGSM, PGD
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.results import SANITY_CHECK, failed_checks
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.evaluation.sanity import CHECKS, LIMITS, AttackedModel, check
from tests.helpers.training import fit, method, network, view

COUNT, EPSILON = 16, 0.05


class Brightness(nn.Module):
    """Class 1 where the mean of the pixels is above one half, seen through a front that may deceive."""

    def __init__(self, front=lambda images: images, scale=20.0):
        super().__init__()
        self.front, self.scale = front, scale

    def forward(self, images):
        score = self.scale * (self.front(images).flatten(1).mean(1) - 0.5)
        return torch.stack([-score, score], 1)


def images(distance=0.03):
    """Half darker, half brighter than the border by ``distance``, in whole hundredths; and their classes."""
    noise = 0.2 * torch.rand(COUNT, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(COUNT) % 2
    level = 0.5 + distance * (2 * labels - 1).view(-1, 1, 1, 1)
    exact = noise - noise.mean((1, 2, 3), keepdim=True) + level
    return (exact * 100).round() / 100, labels


def flags(model, *, distance=0.03, surrogates=(), attack=None, **options):
    random = SampleRandom(0, tuple(range(COUNT)))
    found = check(
        AttackedModel(model, attack or PGD(**options), *images(distance), EPSILON, random, surrogates)
    )
    return {name for name, values in found.items() if values.mean() > LIMITS[name]}


class Deceptive(torch.autograd.Function):
    """The identity, whose derivative has the sign that a function of the images gives it."""

    @staticmethod
    def forward(ctx, x, sign):
        ctx.sign = sign(x)
        return x.clone()

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * ctx.sign, None


def quantised(x):
    return (x * 16).round() / 16


def ripples(x):
    """Steps of a tenth of the ball's diameter pass over them, half as long ones are caught."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + 0.004 * torch.sin(2 * torch.pi * mean / 0.0125)


def honest_at_whole_levels(x):
    return torch.where(((x * 100).round() / 100 - x).abs() < 1e-5, 1.0, -1.0)


def honest_in_the_middle(x):
    return 1.0 - 2.0 * ((x - 0.5).abs().amax((1, 2, 3), keepdim=True) > 0.19)


def test_differentiable_model_raises_no_flag():
    assert flags(Brightness(), surrogates=[Brightness()]) == set()


def test_quantised_input_has_zero_gradient_and_fails_under_transfer():
    raised = flags(Brightness(quantised), surrogates=[Brightness()])
    assert {"zero_gradient", "huge_epsilon", "transfer"} <= raised


def test_quantised_input_at_its_steps_is_flagged_without_gradient():
    assert "without_gradient" in flags(Brightness(quantised), distance=0.001)


def test_saturated_loss_has_zero_gradient():
    assert {"zero_gradient", "huge_epsilon"} <= flags(Brightness(scale=1e5))


def test_randomised_model_is_flagged():
    assert "random_logits" in flags(Brightness(lambda x: x + 0.01 * torch.randn_like(x)))


def test_local_maxima_are_flagged_by_more_steps():
    assert flags(Brightness(ripples), distance=0.025, start="clean") == {"more_steps"}


def test_steps_too_short_to_reach_epsilon_are_flagged():
    raised = flags(Brightness(), steps=2, step_size=0.25, start="clean")
    assert "weak_attack" in raised
    assert "weak_attack" not in flags(Brightness(), steps=4, step_size=0.25, start="clean")


def test_single_step_with_misleading_gradient_is_flagged():
    model = Brightness(lambda x: Deceptive.apply(x, lambda images: -honest_at_whole_levels(images)))
    assert "weak_attack" in flags(model, attack=FGSM())
    assert "weak_attack" not in flags(Brightness(), attack=FGSM())


def test_row_of_a_weak_attack_has_its_protocol():
    x, y = images()
    data = list(zip(x, y.tolist(), strict=True))
    config = EvaluationConfig(epsilons=(EPSILON,), attack="fgsm")
    rows = evaluate(Brightness(), data, config)
    (weak,) = [row for row in rows if row.protocol.get("check") == "weak_attack"]
    assert weak.protocol["attack"] == "fgsm"
    ensemble = EvaluationConfig(
        epsilons=(EPSILON,), attack="auto_attack", attack_options={"iterations": 2, "queries": 2}
    )
    assert not [r for r in evaluate(Brightness(), data, ensemble) if r.protocol.get("check") == "weak_attack"]


def test_misleading_gradient_near_the_clean_image_is_flagged():
    raised = flags(Brightness(lambda x: Deceptive.apply(x, honest_at_whole_levels)))
    assert "single_step" in raised


def test_misleading_gradient_far_from_the_clean_image_is_flagged():
    raised = flags(Brightness(lambda x: Deceptive.apply(x, honest_in_the_middle)))
    assert {"larger_epsilon", "huge_epsilon"} <= raised
    assert not raised & {"more_steps", "single_step", "zero_gradient"}


def test_every_sanity_check_has_a_test():
    source = Path(__file__).read_text()
    assert all(source.count(f'"{name}"') for name in CHECKS)


@pytest.mark.parametrize("name", ["erm", "pgd_at"])
def test_trained_networks_raise_no_flag(name, tmp_path):
    trained = fit(method(name), tmp_path, steps=40, lr=3e-3)
    config = EvaluationConfig(epsilons=(0.02, 0.01), explanation=None)
    rows = evaluate(trained.model, view(), config, surrogates=[network(seed=5)])
    signs = {row.protocol["check"]: row for row in rows if row.metric == SANITY_CHECK}
    assert signs.keys() == CHECKS.keys()
    assert {row.protocol["epsilon"] for row in signs.values()} == {0.01}
    assert failed_checks(rows) == []


def test_checks_sample_images_from_the_whole_data_set():
    x, y = images()
    data = list(zip(x, y.tolist(), strict=True))
    rows = evaluate(Brightness(), data, EvaluationConfig(checks=5, batch_size=3))
    assert {row.n for row in rows if row.metric == SANITY_CHECK} == {5}
    signs = evaluate(Brightness(), data, EvaluationConfig(checks=0))
    assert not [row for row in signs if row.metric == SANITY_CHECK]


def test_robust_accuracy_on_8_bit_images():
    x, y = images()
    data = list(zip(x, y.tolist(), strict=True))
    rows = evaluate(Brightness(), data, EvaluationConfig(epsilons=(0.001, 0.05), checks=0))
    found = {(row.metric, row.protocol["epsilon"]): row.value for row in rows if "epsilon" in row.protocol}
    assert found["robust_accuracy_8bit", 0.05] == found["robust_accuracy", 0.05] == 0
    assert found["robust_accuracy_8bit", 0.001] == found["robust_accuracy", 0.001] == 100
