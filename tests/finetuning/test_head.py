"""Heads that are new, or have their classes in another order."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from egat_hub.backbone import Backbone
from egat_hub.finetuning.head import new_head, reorder_head


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
def test_a_reordered_head_gives_the_same_logits_in_another_order(name):
    torch.manual_seed(0)
    backbone = Backbone(timm.create_model(name, num_classes=4), image_size=96 if name != "test_vit" else 160)
    images = torch.rand(2, 3, backbone.image_size, backbone.image_size)
    backbone.eval()
    with torch.no_grad():
        before = backbone(images)
        reorder_head(backbone, [2, 0, 3, 1])
        torch.testing.assert_close(backbone(images), before[:, [2, 0, 3, 1]])


def test_a_head_of_another_layout_is_not_reordered():
    backbone = Backbone(timm.create_model("test_resnet", num_classes=4), image_size=64)
    backbone.net.fc = nn.Sequential(nn.Linear(backbone.channels, 7), nn.Linear(7, 4))
    with pytest.raises(ValueError, match="not laid out class by class"):
        reorder_head(backbone, [1, 0, 2, 3])


@pytest.mark.parametrize("fault", ["no reset", "no weights"])
def test_a_network_without_a_head_to_replace(fault, monkeypatch):
    backbone = Backbone(timm.create_model("test_resnet", num_classes=4), image_size=64)
    if fault == "no reset":
        monkeypatch.delattr(type(backbone.net), "reset_classifier")
    else:
        backbone.net.fc = nn.Identity()
    with pytest.raises(ValueError, match="test_resnet has no head to replace"):
        new_head(backbone, 3)
