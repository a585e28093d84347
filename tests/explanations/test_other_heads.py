"""Where the head is more than a pooled linear layer, or the layout another, Grad-CAM still equals hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from egat_hub.explanations import GradCAM, InputGradient
from egat_hub.models import TimmModel
from tests.explanations.nets import (
    assert_close,
    assert_same_gradients,
    gradients,
    lively,
    pictures,
    saliency_loss,
)

SWIN = {"img_size": 64, "depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 2, 2), "window_size": 2}
AVERAGE = {"img_size": 64, "global_pool": "avg"}
TINY = {"img_size": 64, "depth": 3, "embed_dim": 24, "num_heads": 2}


class Family(NamedTuple):
    """A network, its last layer whose positions decide, how that becomes [B,K,h,w], the form of the head."""

    name: str
    layer: str
    to_map: Callable[[Tensor], Tensor]
    head_form: str
    arguments: dict[str, Any] = {}  # noqa: RUF012 - never changed


def as_is(features: Tensor) -> Tensor:
    return features


def channels_last(features: Tensor) -> Tensor:
    return features.permute(0, 3, 1, 2)


def tokens(features: Tensor) -> Tensor:
    """The 16 last tokens; those before them have no place in the image."""
    return features[:, -16:].transpose(1, 2).reshape(len(features), -1, 4, 4)


FAMILIES = {
    family.name: family
    for family in (
        Family("test_convnext", "stages", as_is, "differentiable"),
        Family("convnext_atto", "stages", as_is, "differentiable"),
        Family("mobilenetv3_small_050", "blocks", as_is, "differentiable"),
        Family("vgg11", "features", as_is, "differentiable", {"mlp_ratio": 0.02}),
        Family("swin_tiny_patch4_window7_224", "norm", channels_last, "pooled_linear", SWIN),
        Family("test_vit", "norm", tokens, "differentiable", AVERAGE),
        Family("vit_tiny_patch16_224", "blocks.1", tokens, "differentiable", TINY | {"reg_tokens": 2}),
        Family("deit_tiny_distilled_patch16_224", "blocks.1", tokens, "differentiable", TINY),
        Family("vit_small_patch16_rope_mixed_224", "blocks.1", tokens, "differentiable", TINY),
        Family("test_vit2", "norm", tokens, "pooled_linear", AVERAGE | {"fc_norm": False}),
    )
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request) -> tuple[Family, TimmModel]:
    family = FAMILIES[request.param]
    return family, lively(family.name, **family.arguments).double()


IMAGES = pictures(dtype=torch.float64)

TARGET = torch.rand(2, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64) - 0.2
"""A linear combination of logits for each image."""


def by_hooks(family: Family, model: TimmModel, *, constant_weights: bool = False) -> Tensor:
    kept: list[Tensor] = []
    layer = model.net.get_submodule(family.layer)
    with (
        layer.register_forward_hook(lambda module, inputs, output: kept.append(output)),
        sdpa_kernel(SDPBackend.MATH),
    ):
        logits = model.net((IMAGES - model.mean) / model.std)
    (gradient,) = torch.autograd.grad((TARGET * logits).sum(), kept[0], create_graph=True)
    weights = family.to_map(gradient).mean((2, 3), keepdim=True)
    return ((weights.detach() if constant_weights else weights) * family.to_map(kept[0])).sum(1)


def ours(model: TimmModel, *, head_grad: bool) -> Tensor:
    return GradCAM(head_grad=head_grad, relu=False, normalize="none")(model, IMAGES, TARGET)


def test_probe_detects_the_form_of_the_head(family):
    assert family[1].head_form == family[0].head_form


@pytest.mark.parametrize("head_grad", [True, False])
def test_maps_equal_hooks(family, head_grad):
    assert_close(ours(family[1], head_grad=head_grad), by_hooks(*family), 1e-12)


@pytest.mark.parametrize("head_grad", [True, False])
def test_gradients_equal_hooks(family, head_grad):
    model = family[1]
    expected = by_hooks(*family, constant_weights=not head_grad)
    assert_same_gradients(
        gradients(model, saliency_loss(ours(model, head_grad=head_grad))),
        gradients(model, saliency_loss(expected)),
        1e-10,
    )


def test_a_class_token_that_sees_no_patches_has_no_map():
    net = lively("test_vit", img_size=64, depth=1).net
    net.blocks = torch.nn.Sequential(torch.nn.Linear(64, 64))
    model = TimmModel(net)
    assert model.head_form == "independent"
    with pytest.raises(ValueError, match=r"logits of test_vit do not depend.*no module.*global_pool='avg'"):
        GradCAM()(model, pictures())


def test_both_heads_of_a_distilled_network_are_constants_to_pixel_gradients():
    model = lively("deit_tiny_distilled_patch16_224", **TINY)
    for head_grad in (True, False):
        maps = InputGradient(head_grad=head_grad)(model, pictures())
        heads = [model.net.head.weight, model.net.head_dist.weight]
        found = torch.autograd.grad(maps.square().sum(), heads, allow_unused=True)
        assert all((gradient is not None) == head_grad for gradient in found)


def test_half_precision_weights_are_explained():
    model = lively("test_convnext").bfloat16()
    maps = GradCAM()(model, pictures(dtype=torch.bfloat16), torch.tensor([0, 1]))
    assert maps.dtype == torch.float32
    expected = GradCAM()(model.float(), pictures(), torch.tensor([0, 1]))
    assert (maps - expected).abs().mean() < 0.1


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "mobilenetv3_small_050"])
def test_autocast_lowers_the_forward_alone(name):
    model, classes = lively(name), torch.tensor([0, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        view = model.view(pictures())
        maps = GradCAM(normalize="none").of(model, view, classes)
    assert view.logits.dtype == torch.bfloat16
    assert maps.dtype == torch.float32
    assert_close(maps, GradCAM(normalize="none")(model, pictures(), classes), 0.1)
