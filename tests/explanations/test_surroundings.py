"""Explanations under other settings of torch than its own defaults, and of models that are broken."""

from __future__ import annotations

import contextlib

import pytest
import timm
import torch

from egat_hub.explanations import EXPLANATIONS, GradCAM
from egat_hub.models import TimmModel, create_model
from tests.explanations.nets import lively, pictures

SIZE = 64
NETS = {"test_resnet": {}, "test_convnext": {}, "test_vit": {"img_size": SIZE, "depth": 2}}
IMAGES = pictures(2, SIZE)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SURROUNDINGS = {
    "inference mode": torch.inference_mode,
    "float64 by default": lambda: default_dtype(torch.float64),
    "another default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("kind", sorted(EXPLANATIONS))
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_maps_do_not_depend_on_global_settings(surroundings, name, kind):
    few = {"smooth_grad": {"samples": 2}, "integrated_gradients": {"points": 2}}.get(kind, {})
    model, explain, classes = (
        lively(name, size=SIZE, **NETS[name]),
        EXPLANATIONS[kind](**few),
        torch.tensor([0, 2]),
    )
    with torch.no_grad():
        expected = explain(model, IMAGES, classes)
    fresh = lively(name, size=SIZE, **NETS[name])
    with SURROUNDINGS[surroundings](), torch.no_grad():
        found = explain(fresh, IMAGES, classes)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", sorted(EXPLANATIONS))
def test_a_view_from_inference_mode_is_explained_outside(kind):
    model, explain, classes = lively("test_convnext", size=SIZE), EXPLANATIONS[kind](), torch.tensor([0, 2])
    with torch.inference_mode():
        view = model.view(IMAGES)
    assert torch.allclose(explain.of(model, view, classes), explain(model, IMAGES, classes), atol=1e-5)


def test_models_created_in_inference_mode_are_explained():
    with torch.inference_mode():
        model = create_model("test_convnext", num_classes=3, pretrained=False).eval()
    assert GradCAM()(model, torch.rand(1, 3, 160, 160)).isfinite().all()


def test_weights_of_inference_mode_raise():
    with torch.inference_mode():
        model = TimmModel(timm.create_model("test_convnext", num_classes=3))
    with pytest.raises(ValueError, match=r"created under torch\.inference_mode"):
        GradCAM()(model, torch.rand(1, 3, 160, 160))


def test_logits_that_are_not_finite_raise():
    model = lively("test_resnet", size=SIZE)
    with torch.no_grad():
        model.net.conv1[0].weight[0] = torch.nan
    with pytest.raises(ValueError, match="logits of 2 of 2 images are not finite"):
        GradCAM()(model, IMAGES)
