"""PGD against its update written out by hand, and its settings."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor, nn

from egat_hub.attacks import MIFGSM, PGD
from egat_hub.core.randomness import SampleRandom

EPSILON = 8 / 255
RANDOM = SampleRandom(5, tuple(range(16)), step=2)


def reference(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    start: Tensor,
    *,
    epsilon: float,
    length: float,
    steps: int,
) -> Tensor:
    """x <- clip(x + length * sign(d loss / d x)), first to the ball and then to [0, 1]."""
    x = start.clone()
    for _ in range(steps):
        x.requires_grad_(True)
        loss = nn.CrossEntropyLoss(reduction="sum")(model(x), labels)
        gradient = torch.autograd.grad(loss, x)[0]
        x = x.detach() + length * torch.sign(gradient)
        x = images + torch.clamp(x - images, -epsilon, epsilon)
        x = torch.clamp(x, 0, 1)
    return x


def loss(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return nn.functional.cross_entropy(model(images), labels).item()


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("epsilon", [EPSILON, 0.3])
def test_equals_the_update_by_hand_from_the_clean_images(model, images, labels, steps, epsilon):
    found = PGD(steps=steps, start="clean")(model, images, labels, epsilon)
    length = 2.5 * epsilon / steps
    expected = reference(model, images, labels, images, epsilon=epsilon, length=length, steps=steps)
    assert (found - expected).abs().max() <= 1e-6


@pytest.mark.parametrize("epsilon", [EPSILON, 0.3])
def test_equals_the_update_by_hand_from_a_uniform_start(model, images, labels, epsilon):
    found = PGD(steps=5, step_size=0.4)(model, images, labels, epsilon, random=RANDOM)
    start = (images + RANDOM.uniform(images, -epsilon, epsilon, "attack")).clamp(0, 1)
    expected = reference(model, images, labels, start, epsilon=epsilon, length=0.4 * epsilon, steps=5)
    assert (found - expected).abs().max() <= 1e-6


def test_equals_the_update_by_hand_from_a_normal_start(model, images, labels):
    found = PGD(steps=5, start="normal")(model, images, labels, EPSILON, random=RANDOM)
    start = (images + 0.001 * RANDOM.normal(images, "attack")).clamp(0, 1)
    expected = reference(model, images, labels, start, epsilon=EPSILON, length=EPSILON / 2, steps=5)
    assert (found - expected).abs().max() <= 1e-6


def test_a_given_objective_is_maximised(model, images, labels):
    clean = model(images).detach().softmax(1)

    def divergence(logits: Tensor) -> Tensor:
        return (clean * (clean.log() - logits.log_softmax(1))).sum(1)

    found = PGD(start="normal")(
        model, images, labels, EPSILON, random=RANDOM, objective=lambda logits, rows: divergence(logits)
    )
    perturbed = images + 0.001 * RANDOM.normal(images, "attack")
    for _ in range(10):
        perturbed = perturbed.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(divergence(model(perturbed)).sum(), perturbed)
        perturbed = perturbed + EPSILON / 4 * gradient.sign()
        perturbed = (images + (perturbed - images).clamp(-EPSILON, EPSILON)).clamp(0, 1)
    assert (found - perturbed).abs().max() <= 1e-6


@pytest.mark.parametrize("start", ["uniform", "normal", "clean"])
def test_more_steps_raise_the_loss(model, images, labels, start):
    losses = [
        loss(model, PGD(steps=steps, step_size=0.25, start=start)(model, images, labels, EPSILON), labels)
        for steps in (1, 2, 4, 10)
    ]
    assert losses == sorted(losses)
    assert losses[-1] > losses[0] + 0.05


def test_a_larger_budget_raises_the_loss(model, images, labels):
    losses = [
        loss(model, PGD()(model, images, labels, epsilon), labels) for epsilon in (0.0, 0.01, 0.03, 0.1)
    ]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]


@pytest.mark.parametrize("epsilon", [0.01, 0.1])
def test_step_size_is_relative_to_epsilon(model, labels, epsilon):
    grey = torch.full((16, 3, 12, 12), 0.5)
    one = PGD(steps=1, step_size=0.3, start="clean")(model, grey, labels, epsilon) - grey
    assert torch.allclose(one.abs(), torch.full_like(one, 0.3 * epsilon), atol=1e-6)
    three = PGD(steps=3, step_size=0.3, start="clean")(model, grey, labels, epsilon) - grey
    assert three.abs().max().item() == pytest.approx(0.9 * epsilon, abs=1e-6)
    five = PGD(steps=5, step_size=0.3, start="clean")(model, grey, labels, epsilon) - grey
    assert five.abs().max().item() == pytest.approx(epsilon, abs=1e-6)


def test_the_default_step_is_two_and_a_half_epsilon_in_all(model, images, labels):
    for steps in (4, 10):
        default, given = (PGD(steps=steps, step_size=size) for size in (None, 2.5 / steps))
        assert torch.equal(default(model, images, labels, 0.1), given(model, images, labels, 0.1))


def test_starts_differ_by_seed_step_and_index_and_not_for_clean(model, images, labels):
    others = (SampleRandom(6, RANDOM.index, 2), SampleRandom(5, RANDOM.index, 3), RANDOM.select(labels >= 0))
    for start, differs in (("uniform", True), ("normal", True), ("clean", False)):
        attack = PGD(steps=1, step_size=0.1, start=start)
        base = attack(model, images, labels, EPSILON, random=RANDOM)
        found = [attack(model, images, labels, EPSILON, random=other) for other in others]
        assert [not torch.equal(base, other) for other in found] == [differs, differs, False]


def test_the_cost_is_one_forward_per_step(model, images, labels):
    calls = []
    model.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    PGD(steps=7)(model, images, labels, EPSILON)
    assert calls == [16] * 7


def test_protocol_names_every_setting():
    assert PGD(steps=20).protocol() == {"steps": 20, "step_size": 0.125, "start": "uniform"}
    assert math.isclose(PGD(steps=20, step_size=0.5, start="clean").protocol()["step_size"], 0.5)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"steps": -1}, {"start": "unifrom"}])
def test_settings_out_of_range_raise(settings):
    with pytest.raises(ValueError, match="Expected"):
        PGD(**settings)


def test_steps_that_cover_little_of_the_ball_raise_a_warning():
    with pytest.warns(UserWarning, match=r"10 steps of step_size 0.0078\d+ reach 8% of epsilon"):
        PGD(steps=10, step_size=2 / 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for attack in (PGD(), PGD(steps=1), PGD(steps=4, step_size=0.25), MIFGSM(steps=7)):
            assert attack.passes == 2 * attack.steps
