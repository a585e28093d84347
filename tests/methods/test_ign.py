"""IGN: integrated gradients of the loss, their norm, and its gradients one point at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from egat_hub.methods import IGN
from egat_hub.methods.ign import LossPath, PathObjective
from tests.helpers.methods import FAST, batch, forwards, model


@pytest.fixture
def net():
    return model().double().eval()


def pair(epsilon: float = 0.05):
    images, labels = batch(4)
    shift = torch.rand(images.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    return images.double(), labels, (images + 2 * epsilon * shift).clamp(0, 1).double()


def attributions(net, images, labels, perturbed, points):
    """The definition, with one graph for all points."""
    total = 0
    for j in range(1, points + 1):
        point = images + j / points * (perturbed - images)
        if not point.requires_grad:
            point.requires_grad_()
        loss = F.cross_entropy(net(point), labels, reduction="sum")
        total = total + torch.autograd.grad(loss, point, create_graph=True)[0]
    return (perturbed - images) * total / points


def exact(monkeypatch):
    """Let the path stay in float64, where equality can be checked closely."""
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor)


def test_attributions_sum_to_the_change_of_the_loss(net, monkeypatch):
    exact(monkeypatch)
    images, labels, perturbed = pair()
    change = F.cross_entropy(net(perturbed), labels, reduction="none") - F.cross_entropy(
        net(images), labels, reduction="none"
    )
    errors = [
        (LossPath(net, images, labels, points).attributions(perturbed).sum((1, 2, 3)) - change).abs().max()
        for points in (4, 16, 96)
    ]
    assert errors[2] < 0.02 * change.abs().max()
    assert errors[2] < errors[1] < errors[0]


@pytest.mark.parametrize("points", [1, 2, 5])
def test_gradients_per_point_equal_those_of_the_whole_graph(net, points, monkeypatch):
    exact(monkeypatch)
    images, labels, perturbed = pair()
    path = LossPath(net, images, labels, points)
    leaf = perturbed.clone().requires_grad_()
    whole = attributions(net, images, labels, leaf, points)
    norm = whole.abs().sum()
    parameters = list(net.parameters())
    gradient, *gradients = torch.autograd.grad(norm, [leaf, *parameters], allow_unused=True)
    torch.testing.assert_close(path.attributions(perturbed), whole.detach())
    torch.testing.assert_close(path.norm_gradient(perturbed)[0], gradient)
    value = path.norm(perturbed)
    torch.testing.assert_close(value, norm.detach() / len(images))
    (3 * value).backward()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        expected = torch.zeros_like(parameter) if gradient is None else 3 * gradient / len(images)
        torch.testing.assert_close(parameter.grad, expected)


def test_attribution_from_an_image_to_itself_is_zero(net, monkeypatch):
    exact(monkeypatch)
    images, labels, _ = pair()
    path = LossPath(net, images, labels, 3)
    assert not path.attributions(images).any()
    assert not path.norm_gradient(images)[0].any()
    assert path.norm(images).item() == 0


def test_value_is_the_same_under_no_grad(net, monkeypatch):
    exact(monkeypatch)
    images, labels, perturbed = pair()
    path = LossPath(net, images, labels, 3)
    with torch.no_grad():
        value = path.norm(perturbed)
    torch.testing.assert_close(value, path.norm(perturbed).detach())


@pytest.mark.parametrize("objective", ["norm", "sum_norm"])
def test_loss_equals_the_paper(objective, monkeypatch):
    net, (images, labels) = model(), batch()
    method = IGN(net, warmup=0, lambda_ign=0.3, points=4, objective=objective, **FAST)
    seen = []
    attacked = IGN._attacked
    monkeypatch.setattr(IGN, "_attacked", lambda *a: seen.append(attacked(*a)) or seen[-1])
    out = method(images, labels)
    where = images if objective == "norm" else seen[0]
    torch.testing.assert_close(out["cls"], F.cross_entropy(net(where), labels))
    norm = attributions(net.eval(), images, labels, seen[0], 4).abs().sum() / len(images)
    torch.testing.assert_close(out["ign"], 0.3 * norm, rtol=1e-4, atol=1e-6)
    assert (seen[0] - images).abs().max() <= method.config.epsilon + 1e-6


@pytest.mark.parametrize("objective", ["norm", "sum_norm"])
def test_attack_follows_the_gradient_of_its_objective(objective, monkeypatch):
    net, (images, labels) = model().double(), batch()
    images = images.double()  # in float32, rounding decides where an activation is next to zero
    asked = []
    gradient = PathObjective.gradient

    def recorded(self, images, *rows):
        asked.append((images, gradient(self, images, *rows)))
        return asked[-1][1]

    monkeypatch.setattr(PathObjective, "gradient", recorded)
    IGN(net, warmup=0, lambda_ign=0.3, attack_points=3, points=2, objective=objective, **FAST)(images, labels)
    assert len(asked) == FAST["attack_steps"]
    for x, found in asked:
        leaf = x.clone().requires_grad_()
        norm = attributions(net.eval(), images, labels, leaf, 3).abs().sum()
        loss = F.cross_entropy(net(leaf), labels, reduction="sum")
        value = norm if objective == "norm" else loss + 0.3 * norm
        (expected,) = torch.autograd.grad(value, leaf)
        assert F.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.9999
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3 * expected.abs().max().item())


def test_weight_is_ramped_and_zero_weight_skips_the_attack():
    net, (images, labels) = model(), batch()
    method = IGN(net, warmup=4, points=2, **FAST)
    first, last = (method(images, labels, step=step)["ign"].item() for step in (0, 3))
    assert first == pytest.approx(last / 4, rel=0.2)  # other starts of the attack
    with forwards(net) as seen:
        out = IGN(net, lambda_ign=0.0)(images, labels)
    assert len(seen) == 1
    assert "ign" not in out


def test_step_has_the_documented_cost():
    net = model()
    steps, attack_points, points = 3, 2, 5
    method = IGN(net, warmup=0, attack_steps=steps, attack_points=attack_points, points=points)
    with forwards(net) as seen:
        method(*batch())
    assert len(seen) == steps * (2 * attack_points - 1) + (2 * points - 1) + 1


def test_zero_points_raise():
    with pytest.raises(ValueError, match="at least 1 point"):
        IGN(model(), points=0)
