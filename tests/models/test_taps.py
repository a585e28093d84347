"""Networks of every kind that needs a feature tap: logits, gradients and the network stay the same."""

from __future__ import annotations

import copy
import pickle
from typing import Any, NamedTuple

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map_only

from egat_hub.explanations import GradCAM
from egat_hub.hub import from_pretrained, save_pretrained
from egat_hub.models import TimmModel
from egat_hub.models.taps import tensors

CLASSES = 3
SIZE = 64
SMALL = {"img_size": SIZE, "depth": 2, "embed_dim": 24, "num_heads": 2}
SHARED = {"use_shared_rel_pos_bias": True, "global_pool": "token"}


class Family(NamedTuple):
    """A network, the module whose output the features are, and the side of the map."""

    name: str
    module: str
    side: int
    arguments: dict[str, Any]


FAMILIES = {
    family.name: family
    for family in (
        Family("cait_xxs24_224", "blocks", 4, SMALL),
        Family("xcit_nano_12_p16_224", "cls_attn_blocks.0", 4, SMALL),
        Family("convit_tiny", "blocks.1", 4, SMALL | {"depth": 3, "local_up_to_layer": 1}),
        Family("beit_base_patch16_224", "blocks.0", 4, SMALL | SHARED),
        Family("tnt_s_patch16_224", "blocks.0", 4, {"img_size": SIZE, "depth": 2, "embed_dim": 24}),
        Family(
            "crossvit_9_240", "blocks.0", 4, {"img_size": 72, "embed_dim": (16, 32), "depth": [[1, 1, 0]] * 2}
        ),
        Family("coat_lite_tiny", "cpe4", 2, {"img_size": SIZE, "embed_dims": (16,) * 4}),
        Family(
            "coat_tiny",
            "parallel_blocks.0",
            2,
            {"img_size": SIZE, "embed_dims": (16,) * 4, "serial_depths": (1,) * 4, "parallel_depth": 2},
        ),
        Family("pit_ti_distilled_224", "transformers.2.blocks.2", 3, {"img_size": 96}),
        Family("test_vit", "norm_pre", 4, {"img_size": SIZE, "depth": 1}),
    )
}


def make(family: Family, **options: Any) -> TimmModel:
    """A network whose every parameter is random, in eval mode and double precision."""
    torch.manual_seed(0)
    net = timm.create_model(family.name, num_classes=CLASSES, **family.arguments, **options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model = TimmModel(net, image_size=family.arguments["img_size"]).eval()
    assert model.feature_layer == family.module
    return model.double()


@pytest.fixture(scope="module", params=FAMILIES)
def case(request) -> tuple[Family, TimmModel]:
    family = FAMILIES[request.param]
    return family, make(family)


def pictures(model: TimmModel, count: int = 2) -> Tensor:
    size, generator = model.image_size, torch.Generator().manual_seed(1)
    return torch.rand(count, 3, size, size, generator=generator).to(model.mean)


def plain(model: TimmModel, images: Tensor) -> Tensor:
    return model.net((images - model.mean) / model.std)


def test_the_head_on_the_features_gives_the_networks_logits(case):
    family, model = case
    assert (model.feature_layer, model.head_form) == (family.module, "differentiable")
    assert model.obstacle is None
    for count in (1, 3):
        images = pictures(model, count)
        features = model.features(images)
        assert torch.equal(model.head(features), plain(model, images))
        assert model.grid(features).shape == (count, model.channels, family.side, family.side)


def test_gradients_are_those_of_the_network(case):
    model = case[1]
    images, labels = pictures(model), torch.arange(2)
    found, expected = (
        torch.autograd.grad(
            F.cross_entropy(run(images), labels), list(model.net.parameters()), allow_unused=True
        )
        for run in (model, lambda images: plain(model, images))
    )
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("head_grad", [False, True])
def test_maps_and_their_gradients_equal_those_of_a_captured_activation(case, head_grad):
    model = case[1]
    images, classes = pictures(model), torch.tensor([0, 2])
    maps = GradCAM(relu=False, normalize="none", head_grad=head_grad)(model, images, classes)
    expected = captured(model, images, classes, constant_weights=not head_grad)
    assert expected.abs().max() > 0
    torch.testing.assert_close(maps, expected, rtol=1e-9, atol=1e-12)
    parameters = list(model.net.parameters())
    found, wanted = (
        torch.autograd.grad((m / maps.detach().abs().max()).square().sum(), parameters, allow_unused=True)
        for m in (maps, expected)
    )
    for one, other in zip(found, wanted, strict=True):
        if one is None or other is None:  # what does not matter may be zero or missing
            assert all(value is None or not value.any() for value in (one, other))
        else:
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)


def captured(model: TimmModel, images: Tensor, classes: Tensor, *, constant_weights: bool) -> Tensor:
    """Grad-CAM by a hook, through the whole network; the hook is counted, for modules may run twice."""
    calls: list[Any] = []

    def note(module: nn.Module, args: Any, output: Any) -> Any:
        calls.append(tree_map_only(Tensor, lambda one: one * 1.0, output))
        return calls[-1]

    layer = model.net.get_submodule(model.feature_layer)
    with layer.register_forward_hook(note), sdpa_kernel(SDPBackend.MATH):
        logits = plain(model, images)
    kept = tensors(calls[-1])
    score = logits.gather(1, classes[:, None]).sum()
    gradients = torch.autograd.grad(score, kept, create_graph=True, allow_unused=True)
    gradients = [torch.zeros_like(k) if s is None else s for k, s in zip(kept, gradients, strict=True)]

    def packed(parts: list[Tensor]) -> Tensor:
        return parts[0] if len(parts) == 1 else torch.cat([p.reshape(len(images), -1) for p in parts], 1)

    weights = model.grid(packed(gradients)).mean((2, 3), keepdim=True)
    return ((weights.detach() if constant_weights else weights) * model.grid(packed(kept))).sum(1)


def test_no_hooks_remain_in_the_network(case):
    model = case[1]
    before = {name: dict(module.__dict__) for name, module in model.net.named_modules()}
    model(pictures(model))
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever a network says to a wrong shape
        model.head(torch.rand(2, 5, 7, 9, 11).to(model.mean))
    for name, module in model.net.named_modules():
        assert module.__dict__.keys() == before[name].keys(), name
        assert not module._forward_hooks, name
        assert not module._forward_pre_hooks, name


def test_copy_is_equal_and_independent(case):
    model = case[1]
    expected = model(pictures(model))
    for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(clone(pictures(model)), expected)
        with torch.no_grad():
            for parameter in clone.parameters():
                parameter.zero_()
    assert torch.equal(model(pictures(model)), expected)


@pytest.mark.parametrize("name", ["cait_xxs24_224", "tnt_s_patch16_224"])
def test_a_saved_model_is_tapped_in_the_same_place(name, tmp_path):
    model = make(FAMILIES[name]).float()
    names = [str(number) for number in range(CLASSES)]
    metadata = {"model_args": FAMILIES[name].arguments}
    save_pretrained(model, tmp_path / "model", label_names=names, metadata=metadata)
    found = from_pretrained(tmp_path / "model").model
    assert found.feature_layer == model.feature_layer
    assert torch.equal(found(pictures(found)), model(pictures(model)))


def test_images_of_another_size_raise():
    model = make(FAMILIES["xcit_nano_12_p16_224"])
    with pytest.raises(ValueError, match=r"Expected images of 64 x 64 pixels, got 96 x 96"):
        model.features(torch.rand(2, 3, 96, 96).to(model.mean))


def test_recomputed_activations_raise():
    model = make(FAMILIES["cait_xxs24_224"])
    model.net.set_grad_checkpointing()
    with pytest.raises(RuntimeError, match=r"never called blocks.*set_grad_checkpointing\(False\)"):
        model.features(pictures(model))


def test_the_head_without_dropout_drops_nothing_after_the_tap():
    model = make(FAMILIES["xcit_nano_12_p16_224"], drop_path_rate=0.5, proj_drop_rate=0.5).train()
    assert model.has_dropout
    features = model.features(pictures(model)).detach()
    first, second = (model.head(features, dropout=False) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(model.head(features), model.head(features))
    assert torch.equal(model.eval().head(features), first)


def test_it_compiles_around_the_tap():
    model = make(FAMILIES["cait_xxs24_224"])
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(pictures(model)), model(pictures(model)))
