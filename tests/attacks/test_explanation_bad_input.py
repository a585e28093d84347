"""Explanation attacks on unusual networks and maps, and with wrong settings."""

from __future__ import annotations

import copy

import pytest
import torch

from egat_hub.attacks import EXPLANATION_ATTACKS
from egat_hub.explanations import EXPLANATIONS, GradCAM
from tests.attacks.explanation_toy import SIZE, attack, explanation, make_images, trained

NAMES = sorted(EXPLANATION_ATTACKS)
IMAGES = make_images(4, seed=2)[0]


@pytest.mark.parametrize("explained", sorted(EXPLANATIONS))
@pytest.mark.parametrize("name", NAMES)
def test_constant_images_give_finite_results(name, explained):
    images = torch.stack([torch.full((3, SIZE, SIZE), value) for value in (0.0, 0.5, 1.0)])
    found = attack(name, steps=2)(trained(), explanation(explained), images, 0.02)
    assert found.images.isfinite().all()
    assert found.same_prediction.all() or EXPLANATION_ATTACKS[name].flips
    for values in found.agreement.values():
        assert values[found.alive].isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_prediction_never_flips(name):
    net = copy.deepcopy(trained())
    with torch.no_grad():
        net.net.fc.bias[2] = 1e4
    found = attack(name)(net, explanation("grad_cam"), IMAGES, 0.1)
    assert found.same_prediction.all()
    if EXPLANATION_ATTACKS[name].flips:
        assert torch.equal(found.images, IMAGES)
        assert not found.success.any()
    else:
        assert (found.agreement["cosine"] < 1).any()


@pytest.mark.parametrize("name", NAMES)
def test_dead_maps_are_not_attacked_and_reported(name):
    net = copy.deepcopy(trained())
    with torch.no_grad():
        net.net.fc.weight[0] = 0
        net.net.fc.bias.copy_(torch.tensor([0.0, -3.0, -3.0, -3.0]))
        predicted = net(IMAGES).argmax(1)
    found = attack(name)(net, explanation("grad_cam"), IMAGES, 0.05)
    empty = predicted == 0
    assert empty.any()
    assert not empty.all()
    assert torch.equal(found.alive, ~empty)
    assert torch.equal(found.images[empty], IMAGES[empty])
    assert not found.success[empty].any()
    assert all(values[empty].isnan().all() for values in found.agreement.values())


def test_an_attack_never_returns_a_dead_map():
    """Where the rest of the budget would empty the map, the last map that shows something is kept."""
    net = copy.deepcopy(trained())
    with torch.no_grad():
        net.net.fc.weight.sub_(net.net.fc.weight.amax(1, keepdim=True) * 0.8)
    found = attack("top_k", steps=10)(net, explanation("grad_cam"), IMAGES, 0.3)
    assert torch.equal(found.attacked.alive, found.clean.alive)


@pytest.mark.parametrize("explained", ["grad_cam", "input_gradient"])
@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_not_finite_are_an_error(name, explained):
    net = copy.deepcopy(trained())
    with torch.no_grad():
        net.net.body[0].weight[0] = torch.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        attack(name)(net, explanation(explained), IMAGES, 0.02)


def test_errors_of_the_explanation_are_raised():
    class Choosy(GradCAM):
        def check(self, model):
            raise ValueError("not this network")

    with pytest.raises(ValueError, match="not this network"):
        attack("top_k")(trained(), Choosy(), IMAGES, 0.02)


def test_optimizer_with_losses_of_its_own_raises():
    pytest.importorskip("pyautoattack")
    with pytest.raises(ValueError, match="takes an objective, such as 'pgd', got 'auto_attack'"):
        EXPLANATION_ATTACKS["top_k"](optimizer="auto_attack", optimizer_options={})


def test_budget_in_8_bit_steps_raises():
    with pytest.raises(ValueError, match="Expected epsilon in"):
        attack("top_k")(trained(), explanation("grad_cam"), IMAGES, 8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"restarts": 0}, ValueError, "at least 1 restart"),
        ({"softplus": 0.0}, ValueError, "positive softplus"),
        ({"overlap": 1.0}, ValueError, "overlap in"),
        ({"optimizer": "pdg"}, KeyError, "Did you mean 'pgd'"),
        ({"optimizer_options": {"steps": 0}}, ValueError, "at least 1 step"),
    ],
)
def test_settings_out_of_range_raise(name, settings, error, message):
    with pytest.raises(error, match=message):
        EXPLANATION_ATTACKS[name](**settings)


def test_share_of_all_pixels_raises():
    with pytest.raises(ValueError, match="share in"):
        EXPLANATION_ATTACKS["top_k"](share=1.0)


def test_an_unknown_name_suggests_the_closest_one():
    with pytest.raises(KeyError, match="Did you mean 'top_k'"):
        EXPLANATION_ATTACKS["topk"]
