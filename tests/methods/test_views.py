"""Versions of a batch share one forward where that changes nothing."""

from __future__ import annotations

import pytest
import torch

from egat_hub.methods import EGAT, TRADES
from tests.helpers.methods import FAST, batch, forwards, model


def passes(method) -> int:
    """Calls of the trunk besides those that the attack makes."""
    with forwards(method.model) as seen:
        method(*batch())
    attack = FAST["attack_steps"] + isinstance(method, TRADES)
    return len(seen) - attack


@pytest.mark.parametrize("cls", [EGAT, TRADES])
def test_joint_equals_separate_with_frozen_batchnorm(cls):
    results, gradients = [], []
    for views in ("joint", "separate"):
        method = cls(model(), views=views, **FAST)
        results.append(method(*batch()))
        results[-1]["loss"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in method.parameters()]))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[0].norm()


@pytest.mark.parametrize("cls", [EGAT, TRADES])
def test_joint_differs_from_separate_with_trained_batchnorm(cls):
    joint, separate = (
        cls(model(freeze_bn=False), views=views, **FAST)(*batch()) for views in ("joint", "separate")
    )
    assert (joint["output"] - separate["output"]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("network", "joined"),
    [
        ({"freeze_bn": True}, True),
        ({"freeze_bn": False}, False),
        ({"name": "test_convnext", "freeze_bn": False}, True),  # has no BatchNorm
    ],
)
@pytest.mark.parametrize(("cls", "versions"), [(EGAT, 3), (TRADES, 2)])
def test_auto_is_joint_without_trained_batchnorm(cls, versions, network, joined):
    method = cls(model(**network), **FAST)
    assert passes(method) == (1 if joined else versions)
    assert passes(method.eval()) == 1


@pytest.mark.parametrize(("views", "calls"), [("joint", 1), ("separate", 3)])
@pytest.mark.parametrize("freeze_bn", [True, False])
def test_explicit_choice_is_kept(views, calls, freeze_bn):
    assert passes(EGAT(model(freeze_bn=freeze_bn), views=views, **FAST)) == calls
