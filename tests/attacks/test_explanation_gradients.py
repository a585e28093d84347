"""Gradients of explanation attacks against finite differences and closed forms."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from egat_hub.attacks import EXPLANATION_ATTACKS
from egat_hub.attacks.explanation import FIRST_WEIGHT, ExplainedBatch, MapObjective, SmoothReLU
from egat_hub.explanations import EXPLANATIONS
from egat_hub.models.train_mode import frozen
from tests.attacks.explanation_toy import CLASSES, SIZE, attack, explanation, make_images, trained

IMAGES = make_images(2, seed=3)[0].double()
RAW = {"relu": False, "normalize": "none", "head_grad": True}


def search_for(name, explain, net, sharpness=None):
    clean = ExplainedBatch.of(net, explain, IMAGES)
    clean = ExplainedBatch(*(part.detach() for part in clean))
    cls = EXPLANATION_ATTACKS[name]
    goal = attack(name).goal(clean.maps, (SIZE, SIZE))
    return MapObjective(net, explain, IMAGES, clean, 0.1, goal, cls.flips, sharpness)


def by_differences(function, images, direction, width=1e-7):
    return (function(images + width * direction) - function(images - width * direction)) / (2 * width)


def unit(gradient):
    return gradient / gradient.abs().mean((1, 2, 3), keepdim=True)


@pytest.mark.parametrize("explained", sorted(EXPLANATIONS))
@pytest.mark.parametrize("name", sorted(EXPLANATION_ATTACKS))
def test_gradients_of_goals_equal_finite_differences(name, explained):
    net = copy.deepcopy(trained()).double()
    explain = explanation(explained, **RAW)
    classes = net(IMAGES).argmax(1)
    goal = attack(name).goal(explain(net, IMAGES, classes).detach(), (SIZE, SIZE))
    generator = torch.Generator().manual_seed(0)
    place, direction = (
        scale * torch.randn(IMAGES.shape, generator=generator, dtype=torch.float64) for scale in (0.05, 1.0)
    )
    leaf = (IMAGES + place).requires_grad_()
    value = goal(explain(net, leaf, classes)).sum()
    (gradient,) = torch.autograd.grad(value, leaf)
    with torch.no_grad():
        expected = by_differences(lambda x: goal(explain(net, x, classes)).sum(), leaf, direction)
    assert expected.abs() > 1e-6
    torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("name", sorted(EXPLANATION_ATTACKS))
def test_steps_follow_the_map_only_where_the_prediction_is_as_required(name):
    net, explain = copy.deepcopy(trained()).double(), explanation("grad_cam", **RAW)
    search = search_for(name, explain, net)
    classes = search.clean.classes

    def gradients(images):
        leaf = images.clone().requires_grad_()
        look = ExplainedBatch.of(net, explain, leaf)
        error = F.cross_entropy(look.logits, classes, reduction="sum")
        sign = 1 if search.flips else -1
        return [
            unit(torch.autograd.grad(value, leaf, retain_graph=True)[0])
            for value in (search.goal(look.maps).sum(), sign * error)
        ]

    away = IMAGES.flip(0)  # the images of the batch are of different classes
    assert (net(away).argmax(1) != classes).all()
    near = IMAGES + 0.01 * IMAGES.flip(2)
    assert (net(near).argmax(1) == classes).all()
    met, lost = (away, near) if search.flips else (near, away)
    weight = FIRST_WEIGHT
    for images, holds in ((met, True), (lost, False), (lost, False), (met, True)):
        with torch.no_grad():
            found = search.gradient(images)
        by_map, by_prediction = gradients(images)
        if holds:
            torch.testing.assert_close(found, by_map + weight * by_prediction)
        else:
            torch.testing.assert_close(found, by_prediction)
            weight = 2 * FIRST_WEIGHT  # doubled by the loss, not by its lasting


@pytest.mark.parametrize("name", ["top_k", "keep_map"])
def test_invalid_images_are_not_kept(name):
    net, explain = copy.deepcopy(trained()).double(), explanation("grad_cam", **RAW)
    search = search_for(name, explain, net)
    logits, predicted, maps = search.clean
    same, other = predicted, (predicted + 1) % CLASSES
    right, wrong = (other, same) if search.flips else (same, other)
    better, worse = (maps, maps.flip(1, 2)) if search.flips else (maps.flip(1, 2), maps)
    near, far = IMAGES + 0.05 * (0.5 - IMAGES), (IMAGES + 0.2).clamp(0, 1)
    offers = (
        (far, right, better, IMAGES),
        (near, wrong, better, IMAGES),
        (near, right, -better.abs(), IMAGES),
        (near, right, better, near),
        (IMAGES, right, worse, near),
    )
    for images, classes, shown, best in offers:
        search.consider(images, ExplainedBatch(logits, classes, shown))
        assert torch.equal(search.best, best)


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (nn.ReLU(inplace=True), lambda x: F.softplus(x, 5.0)),
        (nn.LeakyReLU(0.2), lambda x: 0.2 * x + 0.8 * F.softplus(x, 5.0)),
        (nn.ReLU6(), lambda x: F.softplus(x, 5.0) - F.softplus(x - 6, 5.0)),
        (nn.Hardtanh(-1, 2), lambda x: -1 + F.softplus(x + 1, 5.0) - F.softplus(x - 2, 5.0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_activations_are_smooth_inside_and_unchanged_after(module, function):
    x = torch.linspace(-8, 8, 101, dtype=torch.float64)
    plain = module(x.clone())
    with SmoothReLU(5.0):
        torch.testing.assert_close(module(x.clone()), function(x))
    with SmoothReLU(1000.0):
        torch.testing.assert_close(module(x.clone()), plain, rtol=0, atol=2e-3)
    assert torch.equal(module(x.clone()), plain)


def test_every_call_of_relu_is_smooth():
    x = torch.linspace(-1, 1, 11)
    with SmoothReLU(3.0):
        for found in (F.relu(x), torch.relu(x), x.relu()):
            torch.testing.assert_close(found, F.softplus(x, 3.0))
        torch.testing.assert_close(F.relu6(x), F.softplus(x, 3.0) - F.softplus(x - 6, 3.0))


def test_second_derivatives_need_softplus():
    net, explain = trained(nn.ReLU), explanation("input_gradient", **RAW)
    leaf = IMAGES.float().requires_grad_()
    with frozen(net):
        (gradient,) = torch.autograd.grad(explain(net, leaf).sum(), leaf, allow_unused=True)
        with SmoothReLU(10.0):
            (smooth,) = torch.autograd.grad(explain(net, leaf).sum(), leaf)
    assert gradient is None or not gradient.any()
    assert smooth.flatten(1).any(1).all()


def test_second_order_is_set_for_gradient_explanations():
    marked = {name for name, cls in EXPLANATIONS.items() if cls.second_order}
    assert marked == {"input_gradient", "smooth_grad", "integrated_gradients"}
    assert not dataclasses.replace(explanation("grad_cam")).second_order
