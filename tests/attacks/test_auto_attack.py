"""AutoAttack for any number of classes: plan, strength, cost and flags."""

from __future__ import annotations

import functools
import importlib.util
import logging
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from egat_hub.attacks import ATTACKS, PGD, AutoAttack, attack_curve
from egat_hub.attacks import auto_attack as module
from egat_hub.evaluation import EvaluationConfig

SIZE, COUNT, EPSILON = 8, 24, 0.03
WITHOUT_SQUARE = "apgd_ce x1, apgd_dlr x1"
PLANS = {
    2: ("apgd_ce x5, apgd_margin x5, fab_t x1, square x1", "1 of 9 targets; apgd_margin for apgd_t"),
    3: ("apgd_ce x1, apgd_dlr x5, fab_t x2, square x1", "2 of 9 targets; apgd_dlr for apgd_t"),
    5: ("apgd_ce x1, apgd_t x4, fab_t x4, square x1", "4 of 9 targets"),
    10: ("apgd_ce x1, apgd_t x9, fab_t x9, square x1", None),
    12: ("apgd_ce x1, apgd_t x9, fab_t x9, square x1", None),
}
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("pyautoattack") is None, reason="pip install egat-hub[autoattack]"
)


@functools.cache
def task(classes: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network that has learned its task, and images [24,3,8,8] that it mostly classifies correctly."""
    generator = torch.Generator().manual_seed(classes)
    patterns = 0.04 * torch.randn(classes, 3, SIZE, SIZE, generator=generator)
    labels = torch.arange(160) % classes
    noise = 0.05 * torch.randn(160, 3, SIZE, SIZE, generator=generator)
    images = (0.5 + patterns[labels] + noise).clamp(0, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 24), nn.Softplus(), nn.Linear(24, classes)
        )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return net.eval().requires_grad_(False), images[:COUNT], labels[:COUNT]


def robust(model, perturbed, labels):
    return model(perturbed).argmax(1) == labels


@needs_package
@pytest.mark.parametrize("classes", [2, 3, 5, 10])
def test_auto_attack_is_at_least_as_strong_as_pgd(classes):
    model, images, labels = task(classes)
    attack = AutoAttack(iterations=10, queries=30)
    epsilons = (0.02, EPSILON, 0.04)
    ours = attack_curve(model, attack, images, labels, epsilons)
    theirs = attack_curve(model, PGD(steps=10), images, labels, epsilons)
    for point, other in zip(ours, theirs, strict=True):
        assert point.correct.sum() <= other.correct.sum()
        assert torch.equal(robust(model, point.images, labels), point.correct)
        assert list(point.correct_after) == list(attack.adapted(model, images).parts)
        assert torch.equal([*point.correct_after.values()][-1], point.correct)
        left = [int(correct.sum()) for correct in point.correct_after.values()]
        assert left == sorted(left, reverse=True)
    assert COUNT > ours[1].correct.sum() > ours[2].correct.sum()


@needs_package
@pytest.mark.parametrize("classes", PLANS)
def test_plan_and_protocol_follow_the_number_of_classes(classes):
    model, images, _ = task(classes)
    plan, replaced = PLANS[classes]
    noted = {"version": "standard", "iterations": 100, "queries": 5000, "plan": plan}
    expected = noted if replaced is None else {**noted, "replaced": replaced}
    assert AutoAttack().adapted(model, images).protocol() == expected


@needs_package
def test_single_class_raises():
    images, labels = torch.rand(1, 3, 8, 8), torch.zeros(1, dtype=torch.long)
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        AutoAttack()(nn.Sequential(nn.Flatten(), nn.LazyLinear(1)), images, labels, 0.1)


@needs_package
def test_results_equal_those_of_pyautoattack_for_ten_classes():
    from pyautoattack import AutoAttack as Stock

    model, images, labels = task(10)
    stock = Stock(
        model, version="custom", attacks=["apgd-ce", "apgd-t", "fab-t", "square"], eps=EPSILON, seed=0
    )
    stock.apgd.n_restarts = 1
    for part in (stock.apgd, stock.apgd_targeted):
        part.n_iter, part.n_iter_2, part.n_iter_min, part.size_decr = 20, 4, 1, 1
    stock.fab.n_iter, stock.square.n_queries = 20, 30
    theirs = robust(model, stock.run_standard_evaluation(images, labels)[0], labels)
    ours = robust(model, AutoAttack(iterations=20, queries=30)(model, images, labels, EPSILON), labels)
    assert 3 < theirs.sum() < COUNT - 3
    assert torch.equal(ours, theirs)


class Firm(nn.Module):
    """Always the first class, by a wide margin."""

    def __init__(self, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(1e-3, 2e-3, classes), requires_grad=False)

    def forward(self, images):
        return images.mean((1, 2, 3))[:, None] * self.weight + 5 * (torch.arange(len(self.weight)) == 0)


@needs_package
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("version", ["standard", "rand"])
def test_passes_is_the_cost_of_a_robust_image(classes, version):
    model, images = Firm(classes), torch.rand(3, 3, SIZE, SIZE)
    attack = AutoAttack(version=version, iterations=4, queries=7).adapted(model, images)
    passes = 0

    def count(batch):
        nonlocal passes
        passes += len(batch)

    def watch(module, inputs, output):
        count(output)
        if output.requires_grad:
            output.register_hook(count)

    model.register_forward_hook(watch)
    attack(model, images, torch.zeros(3, dtype=torch.long), 0.1)
    assert passes == 3 * attack.passes


@needs_package
def test_documented_costs_are_right():
    page = (Path(__file__).parents[2] / "docs" / "threat_model.md").read_text()
    documented = [int(passes) for passes in re.findall(r"\| (\d{4})(?: for K = 5)? \|$", page, re.MULTILINE)]
    plans = [AutoAttack().adapted(*task(classes)[:2]) for classes in (10, 5, 3, 2)]
    plans.append(AutoAttack().adapted(Random(), task(5)[1]))
    assert documented == [plan.passes for plan in plans]


class Plain(nn.Module):
    def forward(self, images):
        return task(5)[0](images)


class Softmax(nn.Module):
    def forward(self, images):
        return task(5)[0](images).softmax(1)


class Optimising(nn.Module):
    def forward(self, images):
        with torch.enable_grad():
            pixels = images.detach().requires_grad_()
            task(5)[0](pixels).sum().backward()
        return task(5)[0](images) + 0 * pixels.grad.sum()


class Rounding(nn.Module):
    """Its gradient is zero wherever there is one, though a little noise breaks it."""

    def forward(self, images):
        return task(5)[0]((10 * images).round() / 10 + 0 * images)


class Random(nn.Module):
    def forward(self, images):
        return task(5)[0](images + 0.01 * torch.randn_like(images))


@needs_package
@pytest.mark.parametrize(
    ("model", "raised"),
    [
        (Plain(), set()),
        (Softmax(), {"probability_outputs"}),
        (Optimising(), {"gradient_in_forward"}),
        (Rounding(), {"zero_margin_gradient", "square_better"}),
        (Random(), {"randomness"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_flags_are_raised_per_attacked_image(model, raised):
    _, images, labels = task(5)
    labels = labels.clone()
    labels[0] = (labels[0] + 1) % 5
    with torch.random.fork_rng(devices=[]):
        (point,) = attack_curve(model, AutoAttack(iterations=3, queries=100), images, labels, [0.1])
    assert all(values[0].isnan() for values in point.flags.values())
    shares = {flag: values[~values.isnan()].mean().item() for flag, values in point.flags.items()}
    assert {flag for flag, share in shares.items() if share > 0} == raised
    assert all(shares[flag] == 1 for flag in raised - {"square_better"})


@needs_package
def test_models_with_random_outputs_get_averaged_gradients():
    _, images, labels = task(5)
    attack = AutoAttack(iterations=2)
    protocol = attack.adapted(Random(), images).protocol()
    assert protocol == {
        "version": "rand",
        "iterations": 2,
        "plan": WITHOUT_SQUARE,
        "replaced": "rand for standard: outputs are random",
    }
    state = torch.get_rng_state()
    first = attack(Random(), images, labels, EPSILON)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(attack(Random(), images, labels, EPSILON), first)
    asked = AutoAttack(version="rand", iterations=2).adapted(task(2)[0], images).protocol()
    assert asked["replaced"] == "apgd_margin for apgd_dlr"


@needs_package
def test_auto_attack_prints_and_logs_nothing(capfd, caplog, recwarn):
    caplog.set_level(logging.DEBUG)
    AutoAttack(iterations=3, queries=5)(Rounding(), *task(5)[1:], EPSILON)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert not recwarn.list


@needs_package
@pytest.mark.parametrize("options", [{"version": "plus"}, {"iterations": 0}, {"queries": 0}])
def test_settings_out_of_range_raise(options):
    with pytest.raises(ValueError, match="Expected"):
        AutoAttack(**options)


def test_without_pyautoattack_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert ATTACKS["auto_attack"] is AutoAttack
    with pytest.raises(ImportError, match=r"pip install 'egat-hub\[autoattack\]'"):
        EvaluationConfig(attack="auto_attack")
