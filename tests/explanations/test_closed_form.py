"""Grad-CAM of pooled-linear heads equals Grad-CAM by hooks, and captum's."""

from __future__ import annotations

import copy
from typing import NamedTuple

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from egat_hub.explanations import GradCAM
from egat_hub.models import TimmModel
from tests.explanations.nets import (
    assert_close,
    assert_same_gradients,
    gradients,
    lively,
    pictures,
    saliency_loss,
)

LAST_LAYER = {"resnet50": "layer4", "mobilenetv2_100": "bn2", "efficientnet_b0": "bn2"}

MAP_ROUNDING, GRADIENT_ROUNDING = 1e-6, 1e-5
"""Float32 in sums over some 2000 channels, and in 50 layers of backward; float64 leaves nothing of it."""


class Case(NamedTuple):
    """A network, its last layer with positions, and what to explain."""

    model: TimmModel
    layer: nn.Module
    images: Tensor
    classes: Tensor

    def ours(self, *, head_grad: bool) -> Tensor:
        return GradCAM(head_grad=head_grad, normalize="none")(self.model, self.images, self.classes)

    def gradients(self, maps: Tensor) -> dict[str, Tensor | None]:
        return gradients(self.model, saliency_loss(maps))


@pytest.fixture(scope="module", params=LAST_LAYER)
def original(request) -> tuple[TimmModel, str]:
    return lively(request.param), LAST_LAYER[request.param]


def case_of(original: tuple[TimmModel, str], dtype: torch.dtype = torch.float32) -> Case:
    model = copy.deepcopy(original[0]).to(dtype)
    assert model.head_form == "pooled_linear"
    images = pictures(dtype=dtype)
    with torch.no_grad():
        return Case(model, model.net.get_submodule(original[1]), images, model(images).argmax(1))


@pytest.fixture(params=["eval", "train"])
def case(original, request) -> Case:
    case = case_of(original)
    case.model.train(request.param == "train")
    return case


def by_hooks(case: Case) -> Tensor:
    """Grad-CAM as textbooks have it: a hook, a forward of everything, a derivative kept in the graph."""
    kept: list[Tensor] = []
    images = (case.images - case.model.mean) / case.model.std
    if case.model.training:  # the layout of training, for other kernels round otherwise
        images = images.contiguous(memory_format=torch.channels_last)
    with case.layer.register_forward_hook(lambda module, inputs, output: kept.append(output)):
        logits = case.model.net(images)
    score = logits.gather(1, case.classes[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, kept[0], create_graph=True)
    return torch.relu((gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1))


def by_captum(case: Case, **options) -> Tensor:
    grad_cam = LayerGradCam(case.model, case.layer)
    return grad_cam.attribute(case.images, case.classes, relu_attributions=True, **options).squeeze(1)


@pytest.mark.parametrize("head_grad", [True, False])
def test_values(case, head_grad):
    maps = case.ours(head_grad=head_grad)
    assert_close(maps, by_hooks(case), MAP_ROUNDING)
    assert_close(maps, by_captum(case), MAP_ROUNDING)


def test_gradients_with_the_head_equal_those_through_hooks(case):
    found, expected = case.gradients(case.ours(head_grad=True)), case.gradients(by_hooks(case))
    assert_same_gradients(found, expected, GRADIENT_ROUNDING)


def test_gradients_with_the_head_equal_captums_with_a_graph(case):
    expected = case.gradients(by_captum(case, grad_kwargs={"create_graph": True}))
    assert_same_gradients(case.gradients(case.ours(head_grad=True)), expected, GRADIENT_ROUNDING)


def test_gradients_without_the_head_equal_captums_own(case):
    found, expected = case.gradients(case.ours(head_grad=False)), case.gradients(by_captum(case))
    assert_same_gradients(found, expected, GRADIENT_ROUNDING)


def test_with_and_without_head_differ_in_the_head_gradient_only(case):
    with_head, without = (case.gradients(case.ours(head_grad=switch)) for switch in (True, False))
    (weight,) = (n for n, p in case.model.net.named_parameters() if p is case.model.classifier.weight)
    assert without.pop(weight) is None
    assert with_head.pop(weight).any()
    assert_same_gradients(with_head, without, 1e-6)


def test_everything_is_exact_in_double_precision(original):
    case = case_of(original, torch.float64)
    maps, expected = case.ours(head_grad=True), by_hooks(case)
    assert_close(maps, expected, 1e-14)
    assert_same_gradients(case.gradients(maps), case.gradients(expected), 1e-13)
