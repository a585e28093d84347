"""What every registered explanation promises."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from torch import Tensor

from egat_hub.explanations import EXPLANATIONS, NORMALIZATIONS
from egat_hub.models import TimmModel
from tests.explanations.nets import lively, pictures

SIZE = 96
NETS = {"test_resnet": {}, "test_convnext": {}, "test_vit": {"img_size": SIZE, "depth": 2}}
"""A head that is pooled and linear, one that is not, and one that looks at a class token."""


@pytest.fixture(scope="module", params=NETS)
def model(request) -> TimmModel:
    return lively(request.param, size=SIZE, **NETS[request.param])


FEW = {"samples": 2, "points": 2}


@pytest.fixture(params=sorted(EXPLANATIONS))
def kind(request):
    """An explanation, of few samples where it takes some."""
    cls = EXPLANATIONS[request.param]
    known = {field.name for field in dataclasses.fields(cls)}
    return functools.partial(cls, **{name: value for name, value in FEW.items() if name in known})


IMAGES = pictures(3, SIZE)


@pytest.mark.parametrize("normalize", sorted(NORMALIZATIONS))
@pytest.mark.parametrize("relu", [True, False])
def test_one_finite_map_an_image(model, kind, relu, normalize):
    maps = kind(relu=relu, normalize=normalize)(model, IMAGES)
    assert maps.ndim == 3
    assert len(maps) == 3
    assert min(maps.shape[1:]) > 1
    assert maps.isfinite().all()
    assert maps.flatten(1).any(1).all()
    if relu or normalize == "minmax":
        assert (maps >= 0).all()
    if normalize != "none":
        assert (maps.abs() <= 1).all()


def test_minmax_is_the_default_and_spans_0_to_1(model, kind):
    maps = kind()(model, IMAGES)
    assert torch.equal(maps.amin((1, 2)), torch.zeros(3))
    assert torch.equal(maps.amax((1, 2)), torch.ones(3))


def test_relu_keeps_positive_evidence(model, kind):
    raw = kind(relu=False, normalize="none")(model, IMAGES)
    assert (raw < 0).any() == kind().signed
    assert torch.equal(kind(normalize="none")(model, IMAGES), raw.clamp(min=0))


def test_the_predicted_class_is_explained_by_default(model, kind):
    predicted = model(IMAGES).argmax(1)
    explain = kind(relu=False)
    assert torch.equal(explain(model, IMAGES), explain(model, IMAGES, predicted))
    assert not torch.allclose(explain(model, IMAGES), explain(model, IMAGES, (predicted + 1) % 5))


def test_existing_view_is_reused(model, kind):
    classes = torch.tensor([0, 1, 2])
    view = model.view(IMAGES)
    assert torch.equal(kind().of(model, view, classes), kind()(model, IMAGES, classes))


@pytest.mark.parametrize("images", [torch.zeros, torch.ones], ids=["black", "white"])
@pytest.mark.parametrize("normalize", sorted(NORMALIZATIONS))
def test_constant_images_give_finite_maps_and_gradients(model, kind, images, normalize):
    maps = kind(normalize=normalize)(model, images(2, 3, SIZE, SIZE), torch.tensor([0, 1]))
    assert maps.isfinite().all()
    gradients = torch.autograd.grad(maps.square().sum(), list(model.parameters()), allow_unused=True)
    assert all(g.isfinite().all() for g in gradients if g is not None)


def test_an_image_gets_its_map_in_any_batch(kind):
    for name in NETS:
        model, images = lively(name, size=SIZE, **NETS[name]).double(), IMAGES.double()
        classes = torch.tensor([2, 0, 1])
        whole = kind()(model, images, classes)
        rows = [kind()(model, images[i : i + 1], classes[i : i + 1]) for i in (2, 0, 1)]
        assert torch.allclose(torch.cat(rows), whole[[2, 0, 1]], atol=1e-9)


@pytest.mark.parametrize("head_grad", [True, False])
def test_maps_are_the_same_without_gradients(model, kind, head_grad):
    explain = kind(head_grad=head_grad)
    with_gradients = explain(model, IMAGES)
    with torch.no_grad():
        without = explain(model, IMAGES)
    assert with_gradients.requires_grad
    assert not without.requires_grad
    rounding = 1e-5 if "vit" in model.architecture else 0  # attention that can be differentiated twice
    assert (without - with_gradients).abs().max() <= rounding


@pytest.mark.parametrize("head_grad", [True, False])
def test_head_gradient_is_optional(model, kind, head_grad):
    maps = kind(head_grad=head_grad)(model, IMAGES)
    weight: Tensor = model.classifier.weight
    (gradient,) = torch.autograd.grad(maps.square().sum(), weight, allow_unused=True)
    assert (gradient is not None) == head_grad


def test_explaining_does_not_change_the_model(model, kind):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, modes = torch.get_rng_state(), [m.training for m in model.modules()]
    images = IMAGES.clone()
    kind(head_grad=True)(model, images)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, IMAGES)


def test_an_unknown_normalisation_is_named(model, kind):
    with pytest.raises(KeyError, match="Did you mean 'minmax'"):
        kind(normalize="min_max")(model, IMAGES)
