"""A weight of zero drops its term, and whatever only that term needs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from egat_hub.explanations import GradCAM
from egat_hub.methods import EGAT, ERM
from tests.helpers.methods import FAST, batch, forwards, model

ALL = {"cls", "adv_kl", "adv_cam", "egl", "reg_ce", "reg_cam", "reg_sparse"}
BATCH = 6


def step(net=None, **options):
    """Terms of a step, images that went through the trunk (in batches), maps that were made."""
    net, maps = net or model(), []
    method = EGAT(net, **FAST, **options)
    with pytest.MonkeyPatch.context() as patch, forwards(net) as seen:
        raw = GradCAM.raw
        patch.setattr(GradCAM, "raw", lambda *a, **k: maps.append(1) or raw(*a, **k))
        result = method(*batch(BATCH), step=0)
    return set(result) - {"loss", "output", "metrics"}, sum(map(len, seen)) / BATCH, len(maps), result


@pytest.mark.parametrize(
    ("weights", "dropped", "passes", "maps"),
    [
        ({}, set(), 2 + 3, 3),
        ({"lambda_cls": 0.0}, {"cls"}, 2 + 3, 3),
        ({"lambda_adv": 0.0}, {"adv_kl", "adv_cam"}, 2, 2),
        ({"adv_kl": 0.0}, {"adv_kl"}, 2 + 3, 3),
        ({"adv_cam": 0.0}, {"adv_cam"}, 2 + 3, 2),
        ({"adv_kl": 0.0, "adv_cam": 0.0}, {"adv_kl", "adv_cam"}, 2, 2),
        ({"lambda_egl": 0.0}, {"egl"}, 2 + 3, 3),
        ({"guide": "none"}, {"egl"}, 2 + 3, 3),
        ({"lambda_reg": 0.0}, {"reg_ce", "reg_cam", "reg_sparse"}, 2 + 2, 2),
        ({"reg_ce": 0.0}, {"reg_ce"}, 2 + 3, 3),
        ({"reg_cam": 0.0}, {"reg_cam"}, 2 + 3, 3),
        ({"reg_sparse": 0.0}, {"reg_sparse"}, 2 + 3, 3),
        ({"reg_ce": 0.0, "reg_cam": 0.0, "reg_sparse": 0.0}, {"reg_ce", "reg_cam", "reg_sparse"}, 2 + 2, 2),
        ({"lambda_adv": 0.0, "lambda_reg": 0.0}, ALL - {"cls", "egl"}, 1, 1),
        ({"lambda_adv": 0.0, "lambda_reg": 0.0, "lambda_egl": 0.0}, ALL - {"cls"}, 1, 0),
    ],
)
def test_zero_weights_skip_their_passes(weights, dropped, passes, maps):
    terms, *cost, _ = step(**weights)
    assert terms == ALL - dropped
    assert cost == [passes, maps]


def test_without_its_terms_egat_is_erm():
    options = {"lambda_adv": 0.0, "lambda_egl": 0.0, "lambda_reg": 0.0}
    loss = step(model(freeze_bn=False), **options)[3]["loss"]
    assert torch.equal(loss, ERM(model(freeze_bn=False))(*batch(BATCH))["loss"])


@pytest.mark.parametrize("egl", [{"lambda_egl": 0.0}, {"guide": "none"}])
def test_all_weights_zero_raises(egl):
    with pytest.raises(ValueError, match="set lambda_cls"):
        EGAT(model(), lambda_cls=0.0, lambda_adv=0.0, lambda_reg=0.0, **egl)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
@pytest.mark.parametrize("head_grad", [False, True])
def test_head_gradient_follows_its_option(name, head_grad):
    net = model(name)
    only = {"lambda_cls": 0.0, "lambda_adv": 0.0, "lambda_reg": 0.0, "lambda_egl": 1.0}
    EGAT(net, head_grad=head_grad, **only)(*batch())["loss"].backward()
    gradient = net.classifier.weight.grad
    assert (gradient is not None and bool(gradient.any())) is head_grad
    assert net.net.get_parameter(next(name for name, _ in net.net.named_parameters())).grad.any()


def test_dropout_applies_to_the_classification_loss_only():
    net = model(drop_rate=0.5)
    labels = batch(BATCH)[1]
    torch.manual_seed(0)
    *_, result = step(net)
    *_, again = step(net)
    without = step(model(drop_rate=0.0))[3]
    torch.testing.assert_close(result["cls"], F.cross_entropy(result["output"], labels))
    for term in ("adv_kl", "adv_cam", "egl", "reg_cam", "reg_sparse"):
        torch.testing.assert_close(result[term], without[term])
    for term in ("output", "cls", "reg_ce"):
        assert not torch.equal(result[term], without[term])
        assert not torch.equal(result[term], again[term])
    assert all(module.training for module in net.net.fc.modules())
