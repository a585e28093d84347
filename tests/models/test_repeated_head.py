"""A second look at features that exist leaves everything as it was."""

from __future__ import annotations

import timm
import torch

from egat_hub.models import TimmModel, create_model
from egat_hub.models.modes import is_batchnorm, without_recording


def test_batchnorm_in_the_head_records_a_batch_once():
    torch.manual_seed(0)
    net = timm.create_model("mobilenetv4_conv_small_035", num_classes=3)
    inside = [name for name, m in net.named_modules() if is_batchnorm(m) and name.startswith("norm_head")]
    assert inside, "the network has no BatchNorm in its head any more: choose another"
    model = TimmModel(net, image_size=64).train()
    view = model.view(torch.rand(4, 3, 64, 64))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    again = model.head(view.features, dropout=False)
    torch.testing.assert_close(again, view.logits)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(m.track_running_stats for m in net.modules() if is_batchnorm(m))


def test_statistics_of_the_batch_are_used_without_being_recorded():
    norm = torch.nn.BatchNorm2d(2)
    images = torch.rand(4, 2, 3, 3)
    with without_recording(norm):
        out = norm(images)
    assert norm.num_batches_tracked == 0
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)


def test_networks_of_fixed_size_are_created_for_the_size_to_come():
    model = create_model(
        "test_vit", num_classes=3, image_size=96, pretrained=False, class_token=False, global_pool="avg"
    )
    assert model(torch.rand(1, 3, 96, 96)).shape == (1, 3)
    net = timm.create_model("test_vit", img_size=128, class_token=False, global_pool="avg")
    assert TimmModel(net).image_size == 128
