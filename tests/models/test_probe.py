"""The probe finds the form of the head, when it is asked for, and changes nothing."""

from __future__ import annotations

import random

import numpy as np
import pytest
import timm
import torch

from egat_hub.methods import METHODS
from egat_hub.models import TimmModel

FORMS = {
    "test_resnet": ("pooled_linear", {}),
    "test_efficientnet": ("pooled_linear", {}),
    "test_nfnet": ("pooled_linear", {}),
    "test_byobnet": ("pooled_linear", {}),
    "resnetv2_50": ("differentiable", {"layers": (1, 1, 1, 1)}),  # its last layer is a convolution
    "test_convnext": ("differentiable", {}),
    "test_mambaout": ("differentiable", {}),
    "mobilenetv4_conv_small": ("differentiable", {}),
    "edgenext_xx_small": ("differentiable", {}),
    "test_vit": ("differentiable", {"img_size": 64}),
    "deit_tiny_distilled_patch16_224": ("differentiable", {"img_size": 64, "depth": 1, "embed_dim": 24}),
    "deit3_small_patch16_224": (
        "differentiable",
        {"img_size": 64, "depth": 2, "embed_dim": 24, "num_heads": 2},
    ),
    "resnet10t": ("pooled_linear", {"drop_rate": 0.5}),
}


@pytest.fixture(params=FORMS)
def net(request):
    torch.manual_seed(0)
    net = timm.create_model(request.param, num_classes=3, **FORMS[request.param][1])
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    return net


@pytest.mark.parametrize("training", [True, False])
def test_probing_does_not_change_the_network(net, training):
    net.train(training)
    marked = next(net.parameters())
    marked.grad = torch.ones_like(marked)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert TimmModel(net, image_size=64).head_form
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert {module.training for module in net.modules()} == {training}
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002
    assert torch.equal(marked.grad, torch.ones_like(marked))
    assert all(parameter.grad is None for parameter in net.parameters() if parameter is not marked)


@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_the_head(name):
    form, arguments = FORMS[name]
    assert TimmModel(timm.create_model(name, num_classes=3, **arguments), image_size=64).head_form == form


def test_the_form_does_not_depend_on_the_weights():
    for value in (0.0, 1e-8, 1e4):
        net = timm.create_model("test_resnet", num_classes=3)
        torch.nn.init.constant_(net.get_classifier().weight, value)
        assert TimmModel(net, image_size=64).head_form == "pooled_linear"
        assert (net.get_classifier().weight == value).all()


def test_frozen_parameters_stay_frozen():
    net = timm.create_model("test_resnet", num_classes=3).requires_grad_(False)
    assert TimmModel(net, image_size=64).head_form == "pooled_linear"
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_modes_of_single_layers_survive_the_probe():
    model = TimmModel(timm.create_model("test_resnet", num_classes=3), image_size=64)
    for module in list(model.net.modules())[::2]:
        module.training = False
    before = [module.training for module in model.modules()]
    assert model.head_form == "pooled_linear"
    assert [module.training for module in model.modules()] == before


def test_weights_survive_a_head_that_fails(monkeypatch):
    net = timm.create_model("test_resnet", num_classes=3)
    before = net.fc.weight.clone()

    def fail(features):
        raise RuntimeError("a head that fails")

    monkeypatch.setattr(net, "forward_head", fail)
    with pytest.raises(RuntimeError, match="a head that fails"):
        _ = TimmModel(net, image_size=64).head_form
    assert torch.equal(net.fc.weight, before)
    assert net.training


@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.inference_mode])
def test_probing_works_under_no_grad(surroundings):
    with surroundings():
        model = TimmModel(timm.create_model("test_convnext", num_classes=3), image_size=64)
        assert model.head_form == "differentiable"


def test_wrapping_needs_no_forward_and_no_copy(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.nn.Module, "double", lambda self: calls.append(self))
    hook = torch.nn.modules.module.register_module_forward_hook(lambda *args: calls.append(args[0]))
    try:
        for name in ("test_resnet", "test_vit"):
            net = timm.create_model(name, num_classes=3)
            for method in METHODS.values():
                method(TimmModel(net))
        assert not calls
        TimmModel(net)(torch.rand(1, 3, 160, 160))
        assert net in calls
    finally:
        hook.remove()


def test_network_with_custom_forward_has_no_maps():
    """A hook that changes the logits, such as a temperature."""
    net = timm.create_model("test_resnet", num_classes=3).eval()
    net.register_forward_hook(lambda module, args, logits: torch.zeros_like(logits))
    model, images = TimmModel(net, image_size=64), torch.rand(2, 3, 64, 64)
    assert model.head_form == "independent"
    assert "forward is not forward_head(forward_features(x))" in model.obstacle
    assert not model(images).any()
    assert not model.view(images).logits.any()
