"""Modes are switched for a moment and come back module by module."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from egat_hub.models.train_mode import (
    evaluating,
    forget_biases,
    is_batchnorm,
    twice_differentiable,
    without_dropout,
)


@pytest.fixture
def net() -> nn.Sequential:
    """Modes as no single call of train() would leave them."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Sequential(nn.BatchNorm2d(4), nn.Dropout2d(0.5)),
    )
    net[1].eval()
    net[3][1].eval()
    return net


def modes(net: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in net.named_modules()}


def test_evaluating_turns_everything_off(net):
    with evaluating(net):
        assert not any(modes(net).values())


def test_without_dropout_leaves_batchnorm(net):
    before = modes(net)
    with without_dropout(net):
        inside = modes(net)
    for name, module in net.named_modules():
        assert inside[name] == (before[name] if is_batchnorm(module) else False)


@pytest.mark.parametrize("switch", [evaluating, without_dropout])
def test_modes_are_restored_module_by_module(net, switch):
    before = modes(net)
    with switch(net):
        pass
    assert modes(net) == before


@pytest.mark.parametrize("switch", [evaluating, without_dropout])
def test_modes_are_restored_after_an_error(net, switch):
    before = modes(net)
    with pytest.raises(RuntimeError, match="inside"), switch(net):
        raise RuntimeError("inside")
    assert modes(net) == before


@pytest.mark.parametrize("switch", [evaluating, without_dropout])
def test_contexts_nest(net, switch):
    before = modes(net)
    with evaluating(net):
        with switch(net):
            pass
        assert not any(modes(net).values())
    assert modes(net) == before


def test_evaluating_keeps_batch_statistics(net):
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with evaluating(net):
        first, second = (net(torch.ones(2, 3, 8, 8)) for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_without_dropout_still_normalises_by_the_batch(net):
    net.train()
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with without_dropout(net):
        first, second = net(images), net(images)
    assert torch.equal(first, second)
    assert first.mean((0, 2, 3)).abs().max() < 1e-5
    assert net[1].num_batches_tracked == 2


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.BatchNorm1d(2), True),
        (nn.BatchNorm2d(2), True),
        (nn.SyncBatchNorm(2), True),
        (timm.layers.BatchNormAct2d(2), True),
        (nn.GroupNorm(1, 2), False),
        (nn.LayerNorm(2), False),
        (nn.InstanceNorm2d(2), False),
        (nn.Dropout(), False),
    ],
)
def test_is_batchnorm(module, expected):
    assert is_batchnorm(module) == expected


def test_attention_has_a_second_derivative_where_it_is_wanted():
    query = torch.rand(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)

    def attention(x):
        with twice_differentiable():
            return F.scaled_dot_product_attention(x, x, x)

    assert torch.autograd.gradgradcheck(attention, query)
    fused = F.scaled_dot_product_attention(query, query, query)
    with twice_differentiable(False):
        assert torch.equal(F.scaled_dot_product_attention(query, query, query), fused)
    torch.testing.assert_close(attention(query), fused)


@pytest.fixture
def levit() -> nn.Module:
    """A network that keeps its attention biases in eval mode."""
    torch.manual_seed(0)
    return timm.create_model("levit_128s", num_classes=3, img_size=64)


def test_cached_biases_are_updated_after_a_training_step(levit):
    images = torch.rand(2, 3, 64, 64)
    with evaluating(levit):
        before = levit(images)
    with torch.no_grad():
        for name, parameter in levit.named_parameters():
            if name.endswith("attention_biases"):
                parameter.normal_()
    with evaluating(levit):
        after = levit(images)
    assert not torch.equal(before, after)
    assert torch.equal(levit.eval()(images), after)


def test_a_network_can_be_copied_after_it_was_explained(levit):
    levit.eval()(torch.rand(1, 3, 64, 64))
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(levit)
    forget_biases(levit.modules())
    copy.deepcopy(levit)
