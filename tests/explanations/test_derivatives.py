"""Maps are differentiable with respect to images and parameters, checked by finite differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from egat_hub.explanations import GradCAM, InputGradient, IntegratedGradients, SmoothGrad
from egat_hub.models import TimmModel
from tests.explanations.nets import lively, pictures

SMOOTH = {"test_efficientnet": {}, "test_convnext": {}, "test_vit": {"img_size": 64, "depth": 2}}
"""Smooth activations; a head that is pooled and linear, one to differentiate, and one with attention."""


class Maps(nn.Module):
    """Grad-CAM as a function of the network's parameters."""

    def __init__(self, model: TimmModel, *, head_grad: bool, normalize: str) -> None:
        super().__init__()
        self.model = model
        self.explanation = GradCAM(head_grad=head_grad, relu=False, normalize=normalize)

    def forward(self, images: Tensor) -> Tensor:
        return self.explanation(self.model, images, torch.tensor([1, 0]))


@pytest.fixture(scope="module", params=SMOOTH)
def model(request) -> TimmModel:
    return lively(request.param, num_classes=3, **SMOOTH[request.param]).double()


@pytest.mark.parametrize("normalize", ["none", "minmax", "max", "sum"])
def test_derivatives_by_parameters(model, normalize):
    maps, images = Maps(model, head_grad=True, normalize=normalize), pictures(dtype=torch.float64)
    names = [name for name, _ in maps.named_parameters()]

    def of(*values: Tensor) -> Tensor:
        return functional_call(maps, dict(zip(names, values, strict=True)), (images,))

    values = tuple(parameter.detach().requires_grad_() for parameter in maps.parameters())
    assert torch.autograd.gradcheck(of, values, fast_mode=True)


def test_derivatives_by_images(model):
    maps = Maps(model, head_grad=True, normalize="none")
    assert torch.autograd.gradcheck(maps, pictures(dtype=torch.float64).requires_grad_(), fast_mode=True)


@pytest.mark.parametrize(
    "explain",
    [InputGradient(), SmoothGrad(samples=2), IntegratedGradients(points=2)],
    ids=lambda e: type(e).__name__,
)
def test_derivatives_of_pixel_gradients_by_images(model, explain):
    """Also where the images are themselves made of what is differentiated."""
    raw = replace(explain, relu=False, normalize="none")
    images, classes = pictures(dtype=torch.float64), torch.tensor([1, 0])
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    along = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def value(step: Tensor | float) -> Tensor:
        return raw(model, images + step * direction, classes).square().sum()

    (gradient,) = torch.autograd.grad(value(along), along)
    with torch.no_grad():
        expected = (value(1e-8) - value(-1e-8)) / 2e-8
    assert expected != 0
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", SMOOTH)
def test_a_loss_on_maps_can_be_trained(name):
    model = lively(name, num_classes=3, **SMOOTH[name])
    maps = Maps(model, head_grad=True, normalize="minmax")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    target = maps(pictures()).detach().flip(1)
    losses = []
    for _ in range(5):
        loss = (maps(pictures()) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
