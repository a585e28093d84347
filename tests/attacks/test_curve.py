"""Robust accuracy at several budgets."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from egat_hub.attacks import PGD, attack_curve
from egat_hub.core.randomness import SampleRandom
from tests.attacks.toy_attacks import Noise, Recording

EPSILONS = (0.01, 0.03, 0.05, 0.1)
WEAK = PGD(steps=1, step_size=1.0)


@pytest.fixture
def points(model, images, labels):
    return attack_curve(model, WEAK, images, labels, EPSILONS)


def test_epsilons_fool_some_images(points):
    """What the other tests need to say anything."""
    assert len({int(point.correct.sum()) for point in points}) >= 3


def test_budgets_come_in_ascending_order(model, images, labels, points):
    shuffled = attack_curve(model, WEAK, images, labels, (0.05, 0.1, 0.01, 0.03))
    assert [point.epsilon for point in shuffled] == list(EPSILONS)
    for one, other in zip(shuffled, points, strict=True):
        assert torch.equal(one.correct, other.correct)
        assert torch.equal(one.images, other.images)


def test_misclassified_images_stay_misclassified_at_larger_budgets(points):
    for smaller, larger in pairwise(points):
        assert not (larger.correct & ~smaller.correct).any()
        assert torch.equal(larger.images[~smaller.correct], smaller.images[~smaller.correct])


def test_misclassified_images_are_not_attacked_again(model, images, labels):
    attack = Recording()
    points = attack_curve(model, attack, images, labels, EPSILONS)
    correct = model(images).argmax(1) == labels
    for point, (epsilon, random, _) in zip(points, attack.calls, strict=False):
        assert epsilon == point.epsilon
        assert random.index == tuple(correct.nonzero()[:, 0].tolist())
        correct = point.correct
    assert len(attack.calls[0][1]) > len(attack.calls[-1][1])


def test_only_correct_images_are_forwarded(model, images, labels):
    sizes = []
    model.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    points = attack_curve(model, WEAK, images, labels, EPSILONS)
    clean = attack_curve(model, WEAK, images, labels, [0.0])[0].correct
    correct = [int(clean.sum()), *(int(point.correct.sum()) for point in points)]
    assert sizes[: 1 + 2 * len(EPSILONS)] == [16, *(n for n in correct[:-1] for _ in range(2))]


def test_without_correct_images_there_is_no_attack(model, images, labels):
    attack = Recording()
    points = attack_curve(model, attack, images, (labels + 1) % 4, EPSILONS)
    assert attack.calls == []
    assert not any(point.correct.any() for point in points)
    assert all(torch.equal(point.images, images) for point in points)


@pytest.mark.parametrize("attack", [WEAK, Noise()])
@pytest.mark.parametrize("restarts", [1, 3])
def test_stored_images_reproduce_what_is_correct(model, images, labels, attack, restarts):
    labels = labels.clone()
    labels[:3] = (labels[:3] + 1) % 4
    points = attack_curve(model, attack, images, labels, (0.03, 0.2, 0.5), restarts=restarts)
    for point in points:
        assert torch.equal(model(point.images).argmax(1) == labels, point.correct)
        assert (point.images - images).abs().max() <= point.epsilon + 1e-6
        assert torch.equal(point.images[:3], images[:3])


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_one_budget_equals_one_call_of_the_attack(model, images, labels, epsilon):
    random = SampleRandom(1, tuple(range(50, 66)))
    (point,) = attack_curve(model, WEAK, images, labels, [epsilon], random=random)
    clean = model(images).argmax(1) == labels
    plain = WEAK(model, images, labels, epsilon, random=random)
    assert torch.equal(point.correct, clean & (model(plain).argmax(1) == labels))
    assert torch.allclose(point.images[clean], plain[clean], atol=1e-6)


def test_known_clean_predictions_save_a_forward(model, images, labels):
    attack, known = Recording(), torch.arange(16) < 5
    points = attack_curve(model, attack, images, labels, EPSILONS, correct=known)
    assert attack.calls[0][1].index == (0, 1, 2, 3, 4)
    assert not any(point.correct[5:].any() for point in points)
    assert torch.equal(known, torch.arange(16) < 5)


def test_modes_are_restored_and_no_graph_is_kept(model, images, labels):
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    points = attack_curve(model, WEAK, images, labels, EPSILONS)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(point.images.requires_grad for point in points)


def test_wrong_budget_raises(model, images, labels):
    with pytest.raises(ValueError, match="epsilon in"):
        attack_curve(model, WEAK, images, labels, [0.01, 8])


def test_logits_that_are_not_finite_are_never_correct(images):
    class Silent(nn.Module):
        """Class 0, and NaN wherever an image was changed."""

        def forward(self, shown):
            changed = torch.tensor([not any(torch.equal(x, clean) for clean in images) for x in shown])
            logits = torch.eye(4)[:1].expand(len(shown), 4)
            return torch.where(changed[:, None], torch.nan, logits)

    labels = torch.zeros(len(images), dtype=torch.int32)
    clean, attacked = attack_curve(Silent(), Noise(), images, labels, [0.0, 0.1])
    assert clean.correct.all()
    assert not attacked.correct.any()
