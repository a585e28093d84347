"""Backbones by name, and what is refused."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from egat_hub.explanations import GradCAM
from egat_hub.models import TimmModel, create_model


def test_a_backbone_by_name():
    model = create_model("test_resnet", num_classes=7, image_size=64, pretrained=False)
    assert model.architecture == "test_resnet"
    assert model.num_classes == 7
    assert model.image_size == 64
    assert model.training
    assert not model.freeze_bn
    assert not model.has_dropout
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 7)


def test_weights_are_those_that_timm_draws():
    torch.manual_seed(5)
    expected = timm.create_model("test_convnext", num_classes=3).state_dict()
    torch.manual_seed(5)
    model = create_model("test_convnext", num_classes=3, pretrained=False)
    assert all(torch.equal(value, expected[name]) for name, value in model.net.state_dict().items())


def test_options_reach_the_network():
    model = create_model(
        "test_vit",
        num_classes=3,
        pretrained=False,
        drop_rate=0.3,
        freeze_bn=True,
        global_pool="avg",
    )
    assert model.has_dropout
    assert model.freeze_bn
    assert model.image_size == 160
    assert model.net.global_pool == "avg"


@pytest.mark.parametrize("pretrained", [True, False])
def test_pretrained_and_name_are_passed_to_timm(monkeypatch, pretrained):
    asked = {}

    def create_model(name, **arguments):
        asked.update(name=name, **arguments)
        return timm.models.create_model("test_resnet", num_classes=arguments["num_classes"])

    monkeypatch.setattr("egat_hub.models.factory.timm.create_model", create_model)
    create_model("resnet50.a1_in1k", num_classes=3, pretrained=pretrained, drop_rate=0.1, act_layer="silu")
    assert asked == {
        "name": "resnet50.a1_in1k",
        "pretrained": pretrained,
        "num_classes": 3,
        "drop_rate": 0.1,
        "act_layer": "silu",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet_50", r"timm knows no network 'resnet_50'\. Did you mean '.*resnet"),
        ("resnte50.a1_in1k", r"timm knows no network 'resnte50'\. Did you mean '.*resnet"),
        ("xyzzy", r"timm knows no network 'xyzzy'\. See timm\.list_models\(\)\."),
    ],
)
def test_unknown_name_suggests_the_closest(name, message):
    with pytest.raises(ValueError, match=message):
        create_model(name, num_classes=3, pretrained=False)


@pytest.mark.parametrize("net", [nn.Linear(3, 2), nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())])
def test_network_not_from_timm_raises(net):
    with pytest.raises(TypeError, match=r"created by timm\.create_model, got \w+, which has no forward_"):
        TimmModel(net)


@pytest.mark.parametrize("num_classes", [0, 1])
def test_fewer_than_two_classes_raise(num_classes):
    net = timm.create_model("test_resnet", num_classes=num_classes)
    with pytest.raises(ValueError, match=f"at least 2 classes, got num_classes={num_classes}"):
        TimmModel(net)


def test_network_without_a_map_raises():
    net = timm.create_model("test_resnet", num_classes=3)
    net.forward_features = lambda images: images.mean((2, 3)).tile(1, 32)
    net.forward_head = lambda pooled: net.fc(pooled)
    model = TimmModel(net)
    assert model.head_form == "independent"
    with pytest.raises(ValueError, match=r"not defined there, nor anywhere inside: .*shape \(2, 96\)"):
        GradCAM()(model, torch.rand(2, 3, 160, 160))


def test_the_size_of_the_images_is_found_where_the_patches_are_made():
    for name in ("tnt_s_patch16_224", "coat_lite_tiny"):
        assert TimmModel(timm.create_model(name, num_classes=3, img_size=64)).image_size == 64


def test_fixed_size_networks_are_created_for_the_image_size():
    model = create_model(
        "test_vit", num_classes=3, image_size=96, pretrained=False, class_token=False, global_pool="avg"
    )
    assert model(torch.rand(1, 3, 96, 96)).shape == (1, 3)
    net = timm.create_model("test_vit", img_size=128, class_token=False, global_pool="avg")
    assert TimmModel(net).image_size == 128


@pytest.mark.parametrize("size", [12, 50])
def test_sizes_not_divisible_by_the_patch_size_raise(size):
    with pytest.raises(ValueError, match=f"multiple of the patches' 16 pixels, got {size}"):
        create_model("test_vit", num_classes=3, image_size=size, pretrained=False)


def test_sizes_that_timm_cannot_create_raise():
    with pytest.raises(ValueError, match="timm cannot create nest_tiny with img_size=50"):
        create_model("nest_tiny", num_classes=3, image_size=50, pretrained=False)
