"""Explanations by pixel gradients and Finer-CAM against captum and autograd."""

from __future__ import annotations

import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from captum.attr import Saliency
from torch.nn import functional as F

from egat_hub.explanations import FinerCAM, GradCAM, InputGradient, IntegratedGradients, SmoothGrad
from tests.explanations.nets import lively, pictures

SIZE = 64
IMAGES, CLASSES = pictures(3, SIZE), torch.tensor([0, 2, 1])
RAW = {"relu": False, "normalize": "none"}


NETS = {"test_resnet": {}, "test_convnext": {}, "test_vit": {"img_size": SIZE, "depth": 2}}


@pytest.fixture(scope="module", params=NETS)
def net(request):
    return lively(request.param, size=SIZE, **NETS[request.param])


def test_the_input_gradient_is_captums_saliency(net):
    expected = Saliency(net).attribute(IMAGES, target=CLASSES).mean(1)
    found = InputGradient(**RAW)(net, IMAGES, CLASSES)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * expected.max().item())


@pytest.mark.parametrize("points", [3, 20])
@pytest.mark.parametrize("baseline", ["mean", "black"])
def test_integrated_gradients_are_captums(net, points, baseline):
    start = net.mean.expand_as(IMAGES) if baseline == "mean" else torch.zeros_like(IMAGES)
    reference = CaptumIntegratedGradients(net).attribute(IMAGES, start, target=CLASSES, n_steps=points)
    expected = reference.sum(1).float()
    found = IntegratedGradients(points=points, baseline=baseline, **RAW)(net, IMAGES, CLASSES)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_integrated_gradients_sum_to_the_change_of_the_logit(net):
    found = IntegratedGradients(points=200, **RAW)(net, IMAGES, CLASSES).sum((1, 2))
    with torch.no_grad():
        rows = torch.arange(3)
        change = net(IMAGES)[rows, CLASSES] - net(net.mean.expand_as(IMAGES))[rows, CLASSES]
    torch.testing.assert_close(found, change, rtol=0.02, atol=0.02 * change.abs().max().item())


def test_smooth_grad_is_the_mean_over_noisy_copies(net):
    generator, total = torch.Generator().manual_seed(4), 0
    for _ in range(3):
        noisy = (IMAGES + 0.1 * torch.randn(IMAGES.shape[1:], generator=generator)).requires_grad_()
        total = total + torch.autograd.grad(net(noisy)[torch.arange(3), CLASSES].sum(), noisy)[0]
    found = SmoothGrad(samples=3, noise=0.1, seed=4, **RAW)(net, IMAGES, CLASSES)
    torch.testing.assert_close(found, (total / 3).abs().mean(1), rtol=1e-4, atol=1e-7)


def test_a_map_depends_on_its_image_alone(net):
    many = SmoothGrad(samples=2, **RAW)(net, IMAGES, CLASSES)
    torch.testing.assert_close(many[1:2], SmoothGrad(samples=2, **RAW)(net, IMAGES[1:2], CLASSES[1:2]))


@pytest.mark.parametrize(("alpha", "references"), [(1.0, 3), (0.6, 2), (1.0, 9)])
def test_finer_cam_is_grad_cam_of_the_margin_by_autograd(net, alpha, references):
    features = net.features(IMAGES).detach().requires_grad_()
    logits, score = net.head(features), 0
    for z, c in zip(logits, CLASSES.tolist(), strict=True):
        others = sorted((i for i in range(5) if i != c), key=lambda i: abs(z[i] - z[c]).item())[:references]
        p = z.softmax(0)[others]
        score = score + (p * (z[c] - alpha * z[others])).sum() / (p.sum() + 1e-9)
    gradient = torch.autograd.grad(score, features)[0]
    expected = (net.grid(gradient).mean((2, 3), keepdim=True) * net.grid(features)).sum(1).detach()
    found = FinerCAM(alpha=alpha, references=references, **RAW)(net, IMAGES, CLASSES)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_finer_cam_without_similarity_is_grad_cam(net):
    found = FinerCAM(alpha=0.0, **RAW)(net, IMAGES, CLASSES)
    plain = GradCAM(**RAW)(net, IMAGES, CLASSES)
    correlation = F.cosine_similarity(found.flatten(1), plain.flatten(1))
    assert (correlation > 0.5).all()  # the weights p still depend on the logits


@pytest.mark.parametrize("kind", [InputGradient, SmoothGrad, IntegratedGradients])
def test_training_uses_few_samples_on_the_grid_of_the_features(net, kind):
    trained = kind(**RAW).training()
    assert getattr(trained, "samples", getattr(trained, "points", 1)) <= 3
    maps = trained(net, IMAGES, CLASSES)
    assert maps.shape[1:] == net.grid(net.features(IMAGES)).shape[2:]
    full = type(trained)(**{**vars(trained), "grid": False})(net, IMAGES, CLASSES)
    height, width = maps.shape[1:]
    torch.testing.assert_close(maps, F.adaptive_avg_pool2d(full[:, None], (height, width))[:, 0])
    gradients = torch.autograd.grad(maps.square().sum(), list(net.net.parameters()), allow_unused=True)
    assert any(gradient is not None and gradient.any() for gradient in gradients)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SmoothGrad(samples=0), "at least 1 sample"),
        (lambda: SmoothGrad(noise=-1.0), "noise"),
        (lambda: IntegratedGradients(points=0), "at least 1 point"),
        (lambda: IntegratedGradients(baseline="white"), "Expected baseline among"),
        (lambda: FinerCAM(references=0), "at least 1 reference"),
    ],
)
def test_invalid_settings_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()
