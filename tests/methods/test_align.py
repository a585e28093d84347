"""ALIGN: two networks that teach each other and never touch each other's weights."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.explanations import GradCAM
from egat_hub.methods import ALIGN, Batch
from egat_hub.methods.align import Masker
from egat_hub.methods.losses import Mixup
from egat_hub.training import TrainConfig
from egat_hub.training.config import create_optimizer
from tests.helpers.methods import batch, forwards, model
from tests.methods import reference

MASKER = ("mask_distance", "mask_size", "mask_tv")


def gradients(term, module):
    return torch.autograd.grad(term, list(module.parameters()), allow_unused=True, retain_graph=True)


def test_masker_and_classifier_have_separate_gradients():
    method = ALIGN(model(), warmup=0)
    out = method(*batch())
    for name, term in out.items():
        if name in ("loss", "output", "metrics"):
            continue
        touched = {
            which
            for which, module in (("masker", method.masker), ("classifier", method.model))
            if any(gradient is not None for gradient in gradients(term, module))
        }
        assert touched == ({"masker"} if name in MASKER else {"classifier"}), name


@pytest.mark.parametrize("idle", ["masker", "classifier"])
def test_step_on_the_terms_of_one_network_does_not_change_the_other(idle):
    method = ALIGN(model(), warmup=0)
    optimizer = create_optimizer(method, TrainConfig(lr=1e-2))
    out = method(*batch())
    mine = [
        out[name]
        for name in out
        if (name in MASKER) == (idle == "classifier")
        and out[name] is not None
        and name not in ("loss", "output", "metrics")
    ]
    before = {name: value.clone() for name, value in method.named_parameters()}
    torch.stack(mine).sum().backward()
    optimizer.step()
    for name, value in method.named_parameters():
        moves = name.startswith("masker.") == (idle == "classifier")
        assert torch.equal(value, before[name]) is not moves, name


def test_terms_equal_the_paper():
    net, (images, labels) = model(), batch()
    method = ALIGN(net, warmup=0, lambda_size=0.3, lambda_tv=0.7, lambda_egl=2.0)
    out = method(images, labels)
    masks = method.masker(images)
    rows = torch.arange(len(labels))
    kept = reference.logits(net, net.mean + masks * (images - net.mean)).softmax(1)[rows, labels]
    removed = reference.logits(net, masks * net.mean + (1 - masks) * images).softmax(1)[rows, labels]
    torch.testing.assert_close(out["mask_distance"], ((kept - removed - 1) ** 2).mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out["mask_size"], 0.3 * masks.mean())
    down, across = (masks[..., 1:, :] - masks[..., :-1, :]).abs(), (masks[..., 1:] - masks[..., :-1]).abs()
    torch.testing.assert_close(out["mask_tv"], 0.7 * (down.mean() + across.mean()))
    maps = GradCAM()(net, images, labels).clamp(0.05, 0.95)
    target = F.adaptive_avg_pool2d(masks, tuple(maps.shape[1:]))[:, 0]
    torch.testing.assert_close(out["egl"], 2 * F.binary_cross_entropy(maps, target.detach()))
    torch.testing.assert_close(out["metrics"]["mask_mean"], masks.mean().detach())


def test_the_regulariser_mixes_images_and_maps_within_classes():
    net, (images, labels) = model(), batch()
    out = ALIGN(net, lambda_reg=0.7)(images, labels)
    random = SampleRandom(0, tuple(range(len(images))), 0)
    mixup = Mixup.draw(Batch(images, labels, None, random), alpha=0.2, same_class=True)
    mixed = mixup(images)
    assert not torch.equal(mixed, images)
    maps, mixed_maps = GradCAM()(net, images, labels), GradCAM()(net, mixed, labels)
    torch.testing.assert_close(
        out["reg_ce"], 0.7 * F.cross_entropy(reference.logits(net, mixed), labels), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        out["reg_cam"], 0.7 * (mixed_maps - mixup(maps)).abs().mean(), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(out["reg_sparse"], 0.7 * mixed_maps.mean(), rtol=1e-4, atol=1e-5)


def test_masker_is_not_trained_during_warm_up():
    method = ALIGN(model(), warmup=5)
    out = method(*batch(), step=4)
    assert "egl" not in out
    out["loss"].backward()
    assert not any(p.grad.any() for p in method.masker.parameters())
    assert "egl" in method(*batch(), step=5)


def test_zero_weights_skip_their_passes():
    net = model()
    for options, passes in (({}, 4), ({"lambda_egl": 0.0}, 2), ({"lambda_reg": 0.0}, 3)):
        with forwards(net) as seen:
            out = ALIGN(net, warmup=0, **options)(*batch())
        assert sum(map(len, seen)) / 6 == passes, options
        assert ("egl" in out) == ("lambda_egl" not in options)


def test_masker_is_not_trained_without_guidance():
    method = ALIGN(model(), lambda_egl=0.0)
    assert not any(p.requires_grad for p in method.masker.parameters())
    assert create_optimizer(method, TrainConfig()).param_groups


def test_masker_has_its_own_learning_rate():
    method = ALIGN(model(), masker_lr=3.0)
    optimizer = create_optimizer(method, TrainConfig(lr=0.01))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in method.named_parameters():
        assert rates[id(parameter)] == pytest.approx(0.03 if name.startswith("masker.") else 0.01)


def test_initial_mask_area_is_within_bounds_and_collapse_is_logged():
    images, labels = batch()
    method = ALIGN(model(), warmup=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = method(images, labels, step=0)["metrics"]
    assert 0.5 < metrics["mask_mean"] < 0.8
    with torch.no_grad():
        method.masker.last.bias.fill_(-9)
    with pytest.warns(UserWarning, match=r"mean of 0\.00 at step 100, .* Lower lambda_size"):
        method(images, labels, step=100)


def test_masks_of_any_size():
    for size in ((32, 32), (33, 47), (7, 5)):
        masks = Masker()(torch.rand(2, 3, *size))
        assert masks.shape == (2, 1, *size)
        assert masks.min() > 0
        assert masks.max() < 1
