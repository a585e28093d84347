"""A small trained network, and images for it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from egat_hub.attacks import ATTACKS, Attack
from tests.helpers.networks import small_classifier
from tests.helpers.quadrants import CLASSES, quadrants

SIZE = 12
QUICK = {"auto_attack": {"iterations": 5, "queries": 10}}
"""Options of attacks that take long by default."""


def build(name: str) -> Attack:
    """A registered attack, quick; a skipped test where its package is missing."""
    try:
        return ATTACKS[name](**QUICK.get(name, {}))
    except ImportError as error:
        pytest.skip(str(error))


def make_images(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy images [count,3,12,12] in [0,1]; the class is the brighter quarter."""
    return quadrants(count, seed, size=SIZE, noise=0.12, contrast=0.15)


@pytest.fixture(params=sorted(ATTACKS))
def attack(request) -> Attack:
    """Every registered attack."""
    return build(request.param)


@pytest.fixture(params=[name for name in sorted(ATTACKS) if ATTACKS[name].takes_objective])
def gradient_attack(request) -> Attack:
    """Every registered attack that takes an objective."""
    return build(request.param)


@pytest.fixture(scope="session")
def trained() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = small_classifier(CLASSES, side=3)
        images, labels = make_images(256, seed=1)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(40):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
        optimizer.zero_grad()
    return net.eval()


@pytest.fixture
def model(trained) -> nn.Module:
    """A copy to do with as one likes, in eval mode."""
    return copy.deepcopy(trained)


@pytest.fixture
def images() -> Tensor:
    return make_images(16, seed=2)[0]


@pytest.fixture
def labels() -> Tensor:
    return make_images(16, seed=2)[1]
