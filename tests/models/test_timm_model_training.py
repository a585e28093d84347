"""Training mode of a backbone: frozen BatchNorm, and heads with and without dropout."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from egat_hub.models import TimmModel
from egat_hub.models.train_mode import is_batchnorm, without_recording


def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def make(name: str = "test_resnet", *, freeze_bn: bool = False, **arguments) -> TimmModel:
    torch.manual_seed(0)
    return TimmModel(timm.create_model(name, num_classes=3, **arguments), image_size=64, freeze_bn=freeze_bn)


def norms(model: TimmModel) -> list[nn.Module]:
    return [module for module in model.modules() if is_batchnorm(module)]


@pytest.mark.parametrize("training", [True, False])
def test_a_backbone_starts_in_the_mode_of_its_network(training):
    model = TimmModel(timm.create_model("test_resnet", num_classes=3).train(training), image_size=64)
    assert {module.training for module in model.modules()} == {training}


def test_frozen_batchnorm_stays_in_eval_mode():
    model = make(freeze_bn=True)
    for mode in (None, True, False, True):
        if mode is not None:
            assert model.train(mode) is model
        assert norms(model)
        assert not any(module.training for module in norms(model))
        others = {module.training for module in model.modules() if not is_batchnorm(module)}
        assert others == {mode is not False}


def test_frozen_batchnorm_keeps_its_statistics_and_learns_its_weights():
    model = make(freeze_bn=True).train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(images()).square().sum().backward()
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert all(module.weight.grad is not None for module in norms(model))


def test_batchnorm_that_is_not_frozen_trains():
    model = make().train()
    assert all(module.training for module in norms(model))
    before = norms(model)[0].running_mean.clone()
    model(images())
    assert not torch.equal(norms(model)[0].running_mean, before)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, False),
        ({"drop_rate": 0.3}, True),
        ({"name": "test_vit", "img_size": 64}, False),
        ({"name": "test_vit", "img_size": 64, "proj_drop_rate": 0.1}, True),
        ({"name": "test_resnet", "drop_path_rate": 0.2}, False),
    ],
)
def test_has_dropout(arguments, expected):
    assert make(**arguments).has_dropout == expected


HEADS = {
    "test_resnet": {},
    "test_efficientnet": {},
    "test_convnext": {},
    "mobilenetv3_small_050": {},
    "test_vit": {"img_size": 64},
}


@pytest.fixture(params=HEADS)
def dropping(request) -> TimmModel:
    return make(request.param, drop_rate=0.5, **HEADS[request.param])


def test_the_head_without_dropout_is_that_of_eval_mode(dropping):
    features = dropping.features(images()).detach()
    expected = dropping.eval().head(features)
    dropping.train()
    first, second = (dropping.head(features, dropout=False) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, expected)
    assert all(module.training for module in dropping.modules())


def test_batchnorm_in_the_head_still_sees_the_batch():
    """The head of MobileNetV4 has one."""
    dropping, plain = (make("mobilenetv4_conv_small", drop_rate=rate).train() for rate in (0.5, 0.0))
    features = plain.features(images()).detach()
    assert torch.equal(dropping.head(features, dropout=False), plain.head(features))
    assert not torch.equal(dropping.head(features, dropout=False), plain.eval().head(features))


def test_head_dropout_applies_in_train_mode_only(dropping):
    features = dropping.features(images()).detach()
    assert not torch.equal(dropping.train().head(features), dropping.head(features))
    assert torch.equal(dropping.eval().head(features), dropping.head(features))


def test_logits_of_a_view_without_dropout(dropping):
    view = dropping.train().view(images())
    assert torch.equal(dropping.without_dropout(view), dropping.head(view.features, dropout=False))
    assert not torch.equal(dropping.without_dropout(view), view.logits)
    view = dropping.eval().view(images())
    assert dropping.without_dropout(view) is view.logits


def test_view_without_dropout_runs_the_head_once(monkeypatch):
    model = make().train()
    view = model.view(images())
    monkeypatch.setattr(model.net, "forward_head", None)
    assert model.without_dropout(view) is view.logits


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
