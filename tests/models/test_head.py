"""Heads that are new, or have their classes in another order."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from egat_hub.models import TimmModel
from egat_hub.models.factory import new_head, reorder_head


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
def test_a_reordered_head_gives_the_same_logits_in_another_order(name):
    torch.manual_seed(0)
    model = TimmModel(timm.create_model(name, num_classes=4), image_size=96 if name != "test_vit" else 160)
    images = torch.rand(2, 3, model.image_size, model.image_size)
    model.eval()
    with torch.no_grad():
        before = model(images)
        reorder_head(model, [2, 0, 3, 1])
        torch.testing.assert_close(model(images), before[:, [2, 0, 3, 1]])


def test_a_head_of_another_layout_is_not_reordered():
    model = TimmModel(timm.create_model("test_resnet", num_classes=4), image_size=64)
    model.net.fc = nn.Sequential(nn.Linear(model.channels, 7), nn.Linear(7, 4))
    with pytest.raises(ValueError, match="not laid out class by class"):
        reorder_head(model, [1, 0, 2, 3])


@pytest.mark.parametrize("fault", ["no reset", "no weights"])
def test_a_network_without_a_head_to_replace(fault, monkeypatch):
    model = TimmModel(timm.create_model("test_resnet", num_classes=4), image_size=64)
    if fault == "no reset":
        monkeypatch.delattr(type(model.net), "reset_classifier")
    else:
        model.net.fc = nn.Identity()
    with pytest.raises(ValueError, match="test_resnet has no head to replace"):
        new_head(model, 3)
