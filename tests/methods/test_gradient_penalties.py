"""IGR, RRR and SGT against loops over single images."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from egat_hub.methods import IGR, RRR, SGT
from tests.helpers.methods import batch, model
from tests.methods import reference


def gradients(net, images, labels, objective):
    """Gradients of every image's own objective with respect to its pixels, one image at a time."""
    found = []
    for image, label in zip(images, labels, strict=True):
        leaf = image[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(reference.logits(net, leaf), label[None]), leaf)
        found.append(gradient)
    return torch.cat(found)


def test_igr_is_the_mean_squared_norm_of_each_images_own_gradient():
    net, (images, labels) = model(), batch()
    each = gradients(net, images, labels, F.cross_entropy).flatten(1).square().sum(1)
    out = IGR(net, lambda_igr=3.0)(images, labels)
    torch.testing.assert_close(out["igr"], 3 * each.mean(), rtol=1e-4, atol=1e-7)


def test_the_official_scale_of_igr_is_this_one_over_twice_the_batch_size():
    net, (images, labels) = model(), batch()
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(reference.logits(net, leaf), labels), leaf)
    official = gradient.square().sum() / 2
    ours = IGR(net, lambda_igr=1.0)(images, labels)["igr"]
    torch.testing.assert_close(official, ours / (2 * len(images)), rtol=1e-4, atol=1e-8)


def test_igr_trains_through_the_gradient():
    net, (images, labels) = model(), batch()
    penalty = IGR(net, lambda_igr=1.0)(images, labels)["igr"]
    found = torch.autograd.grad(penalty, net.net.get_classifier().weight)[0]
    weight, step = net.net.get_classifier().weight, 1e-2
    direction = torch.zeros_like(weight)
    direction[0, :8] = 1
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * step * direction
        each = gradients(net, images, labels, F.cross_entropy).flatten(1).square().sum(1)
        values.append(each.mean().item())
        with torch.no_grad():
            weight -= sign * step * direction
    numeric = (values[0] - values[1]) / (2 * step)
    assert (found * direction).sum().item() == pytest.approx(numeric, rel=0.02)


def test_rrr_penalises_the_gradient_of_all_log_probabilities_where_the_guide_is_dark():
    net, (images, labels) = model(), batch()
    each = gradients(net, images, labels, lambda z, _: F.log_softmax(z, 1).sum())
    red, green, blue = images.unbind(1)
    dark = 1 - (0.299 * red + 0.587 * green + 0.114 * blue)
    expected = ((dark[:, None] * each) ** 2).sum((1, 2, 3)) / dark.sum((1, 2))
    out = RRR(net, lambda_rrr=2.0)(images, labels)
    torch.testing.assert_close(out["rrr"], 2 * expected.mean(), rtol=1e-4, atol=1e-7)


def test_sgt_masks_exactly_the_least_salient_pixels():
    net, (images, labels) = model(), batch()
    method = SGT(net, drop=0.25)
    seen = []
    run = method.views
    method.views = lambda *versions: seen.extend(versions) or run(*versions)
    method(images, labels)
    changed = (seen[1] != images).any(1).flatten(1)
    each = gradients(net, images, labels, lambda z, y: z[0, y[0]]).abs().mean(1).flatten(1)
    assert changed.sum(1).tolist() == [round(0.25 * changed.shape[1])] * len(images)
    for mask, salience in zip(changed, each, strict=True):
        assert salience[mask].max() <= salience[~mask].min() + 1e-6
    assert (seen[1].amin((2, 3)) >= images.amin((2, 3))).all()
    assert (seen[1].amax((2, 3)) <= images.amax((2, 3))).all()


def test_sgt_without_masked_pixels_compares_equal_predictions():
    net, (images, labels) = model(), batch()
    assert SGT(net, drop=0.0)(images, labels)["sgt"].item() == pytest.approx(0, abs=1e-6)


def test_sgt_takes_the_divergence_from_the_prediction_on_the_whole_image():
    net, (images, labels) = model(), batch()
    method = SGT(net, drop=0.5, lambda_sgt=2.0)
    seen = []
    run = method.views
    method.views = lambda *versions: seen.extend(versions) or run(*versions)
    found = method(images, labels)["sgt"]
    whole, masked = (reference.logits(net, version).log_softmax(1) for version in seen)
    expected = (whole.exp() * (whole - masked)).sum(1).mean()
    torch.testing.assert_close(found, 2 * expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "weight", "term"),
    [(IGR, "lambda_igr", "igr"), (RRR, "lambda_rrr", "rrr"), (SGT, "lambda_sgt", "sgt")],
)
def test_without_its_weight_a_method_is_erm(method, weight, term):
    net, (images, labels) = model(), batch()
    out = method(net, **{weight: 0.0})(images, labels)
    assert term not in out
    torch.testing.assert_close(out["loss"], F.cross_entropy(reference.logits(net, images), labels))
