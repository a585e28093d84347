"""The contract of every registered explanation attack with every registered explanation."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from egat_hub.attacks import EXPLANATION_ATTACKS
from egat_hub.core.randomness import SampleRandom
from egat_hub.explanations import EXPLANATIONS, dead
from egat_hub.explanations.similarity import STABILITY
from tests.attacks.explanation_toy import SIZE, attack, explanation, make_images, trained

EPSILON, COUNT = 0.04, 6
IMAGES = make_images(COUNT, seed=2)[0]

every_pair = pytest.mark.parametrize(
    ("name", "explained"), [(a, e) for a in sorted(EXPLANATION_ATTACKS) for e in sorted(EXPLANATIONS)]
)


@every_pair
def test_results_hold_on_the_returned_images(name, explained):
    net, explain = trained(), explanation(explained)
    found = attack(name)(net, explain, IMAGES, EPSILON)
    assert found.images.shape == IMAGES.shape
    assert (found.images - IMAGES).abs().max() <= EPSILON + 1e-6
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    with torch.no_grad():
        before, after = net(IMAGES).argmax(1), net(found.images).argmax(1)
        signed = dataclasses.replace(explain, relu=False, normalize="none")
        maps, other = signed(net, IMAGES, before), signed(net, found.images, after)
    assert torch.equal(found.same_prediction, before == after)
    torch.testing.assert_close(found.clean.maps, maps)
    torch.testing.assert_close(found.attacked.maps, other)
    alive = ~dead(maps.relu()) & ~dead(other.relu())
    assert torch.equal(found.alive, alive)
    assert alive.any()
    assert found.agreement.keys() == STABILITY.keys()
    for measure, values in found.agreement.items():
        expected = torch.where(alive, STABILITY[measure](maps, other, (SIZE, SIZE)), torch.nan)
        torch.testing.assert_close(values, expected, equal_nan=True)
    same = found.agreement["topk_overlap"] >= 0.5
    if EXPLANATION_ATTACKS[name].flips:
        assert torch.equal(found.success, ~found.same_prediction & same & alive)
        assert torch.equal(found.images[found.same_prediction], IMAGES[found.same_prediction])
    else:
        assert found.same_prediction.all()
        assert torch.equal(found.success, ~same & alive)
    assert not found.images.requires_grad
    assert not found.attacked.maps.requires_grad


@every_pair
def test_results_do_not_depend_on_the_batch(name, explained):
    net, images = copy.deepcopy(trained()).double(), IMAGES.double()
    run = attack(name, restarts=2, steps=2)
    order = [4, 1]
    whole = run(net, explanation(explained), images, EPSILON, random=SampleRandom(7, tuple(range(COUNT))))
    for i in order:
        alone = run(net, explanation(explained), images[i : i + 1], EPSILON, random=SampleRandom(7, (i,)))
        torch.testing.assert_close(alone.images, whole.images[i : i + 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["pgd", "mi_fgsm"])
@pytest.mark.parametrize("name", sorted(EXPLANATION_ATTACKS))
def test_model_state_and_global_random_numbers_are_unchanged(name, optimizer):
    net, images = copy.deepcopy(trained()).train(), IMAGES.clone()
    net.net.body[1].eval()
    next(net.parameters()).requires_grad_(False)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    modes, wanted = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    state = torch.get_rng_state()
    found = attack(name, optimizer=optimizer)(net, explanation("input_gradient"), images, EPSILON)
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == wanted
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(images, IMAGES)
    assert not torch.equal(found.images, IMAGES)


@pytest.mark.parametrize("name", sorted(EXPLANATION_ATTACKS))
def test_inference_mode_does_not_matter(name):
    run = attack(name)
    expected = run(trained(), explanation("grad_cam"), IMAGES, EPSILON).images
    with torch.inference_mode():
        found = run(trained(), explanation("grad_cam"), IMAGES.clone(), EPSILON).images
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", sorted(EXPLANATION_ATTACKS))
def test_epsilon_0_changes_no_image(name):
    found = attack(name)(trained(), explanation("grad_cam"), IMAGES, 0.0)
    assert torch.equal(found.images, IMAGES)
    assert found.same_prediction.all()
    assert not found.success.any()


@pytest.mark.parametrize("name", sorted(EXPLANATION_ATTACKS))
def test_protocol_has_every_setting(name):
    settings = {"overlap": 0.4, "restarts": 3}
    run = attack(name, steps=7, **settings)
    expected = {"optimizer": "pgd", "steps": 7, "step_size": 2.5 / 7, "start": "uniform", **settings}
    assert expected.items() <= run.protocol(explanation("grad_cam")).items()
    assert "softplus" not in run.protocol(explanation("grad_cam"))
    assert run.protocol(explanation("input_gradient"))["softplus"] == 10.0
