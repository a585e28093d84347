"""IRM's closed form against autograd, its schedule, and environments made from one domain."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.methods import ENVIRONMENTS, IRM, Batch
from tests.helpers.methods import batch, model
from tests.methods import reference


def gradient(logits, labels):
    scale = torch.ones((), requires_grad=True)
    return torch.autograd.grad(F.cross_entropy(scale * logits, labels), scale, create_graph=True)[0]


@pytest.mark.parametrize(("step", "weight"), [(499, 1.0), (500, 100.0)])
def test_penalty_equals_autograd(step, weight):
    net, (images, labels) = model(), batch()
    out = IRM(net, environments="single")(images, labels, step=step)
    logits = reference.logits(net, images)
    halves = [gradient(logits[start::2], labels[start::2]) for start in (0, 1)]
    torch.testing.assert_close(out["cls"], F.cross_entropy(logits, labels))
    torch.testing.assert_close(out["irm"], weight * halves[0] * halves[1], rtol=1e-4, atol=1e-5)
    parameter = net.net.get_classifier().weight
    expected = torch.autograd.grad(weight * halves[0] * halves[1], parameter)[0]
    torch.testing.assert_close(torch.autograd.grad(out["irm"], parameter)[0], expected, rtol=1e-3, atol=1e-4)


def test_environments_are_averaged():
    net, (images, labels) = model(), batch()
    method = IRM(net, environments="random")
    out = method(images, labels, step=3)
    random = SampleRandom(0, tuple(range(len(images))), 3)
    _, environment = ENVIRONMENTS["random"](Batch(images, labels, None, random))
    logits = reference.logits(net, images)
    risks = [
        F.cross_entropy(logits[environment == e], labels[environment == e]) for e in environment.unique()
    ]
    torch.testing.assert_close(out["cls"], torch.stack(risks).mean())


def test_the_penalty_may_be_negative():
    net, found = model(), []
    for seed in range(12):
        images, labels = batch(seed=seed)
        found.append(IRM(net, environments="single")(images, labels, step=0)["irm"].item())
    assert min(found) < 0


def test_the_optimiser_restarts_once_after_the_warm_up():
    method = IRM(model(), warmup=3)
    assert [method.restarts_optimizer(step) for step in range(5)] == [False, False, False, True, False]
    assert not IRM(model(), warmup=0).restarts_optimizer(0)


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_environments_keep_range_and_position(name):
    images, labels = batch()
    random = SampleRandom(0, tuple(range(len(images))), 5)
    looks, environment = ENVIRONMENTS[name](Batch(images, labels, None, random))
    assert looks.shape == images.shape
    assert 0 <= looks.min() <= looks.max() <= 1
    assert environment.shape == labels.shape
    alone, own = ENVIRONMENTS[name](Batch(images[2:3], labels[2:3], None, SampleRandom(0, (2,), 5)))
    torch.testing.assert_close(alone, looks[2:3])
    assert own == environment[2]


def test_random_environments_stay_and_photometric_ones_change():
    images, labels = batch()
    parts = {
        name: [
            ENVIRONMENTS[name](Batch(images, labels, None, SampleRandom(0, tuple(range(6)), step)))[
                1
            ].tolist()
            for step in range(4)
        ]
        for name in ("random", "photometric")
    }
    assert len({str(part) for part in parts["random"]}) == 1
    assert len({str(part) for part in parts["photometric"]}) > 1
