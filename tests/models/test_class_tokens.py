"""Features of class-token transformers are what enters the last block, and logits stay the same."""

from __future__ import annotations

import copy
import pickle

import pytest
import timm
import torch
from torch import Tensor, nn

from egat_hub.models import TimmModel

SIZE = 64
SMALL = {"img_size": SIZE, "depth": 3, "embed_dim": 24, "num_heads": 2}
CUT = {
    "class token": ("test_vit", {"img_size": SIZE}),
    "registers": ("vit_small_patch14_reg4_dinov2", {**SMALL, "img_size": 56}),
    "norm before the blocks": ("vit_base_patch32_clip_224", SMALL),
    "parallel branches": ("vit_base_patch16_18x2_224", SMALL),
    "convolutional stem": ("vit_tiny_r_s16_p8_224", SMALL),
    "layer scale": ("deit3_small_patch16_224", SMALL),
    "two heads": ("deit_tiny_distilled_patch16_224", SMALL),
    "relative positions": ("beit_base_patch16_224", {**SMALL, "global_pool": "token"}),
    "rotary positions": ("vit_small_patch16_rope_224", SMALL),
    "rotary positions of each block": ("vit_small_patch16_rope_mixed_224", SMALL),
}


def make(name: str, **arguments) -> TimmModel:
    """A network whose every parameter is random, in eval mode and double precision."""
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=3, **arguments)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return TimmModel(net).double().eval()


@pytest.fixture(scope="module", params=CUT)
def model(request) -> TimmModel:
    name, arguments = CUT[request.param]
    return make(name, **arguments)


def images(model: TimmModel) -> Tensor:
    size, generator = model.image_size, torch.Generator().manual_seed(1)
    return torch.rand(2, 3, size, size, generator=generator).to(model.mean)


def test_features_are_the_input_of_the_last_block(model):
    assert (model.feature_layer, model.head_form) == (f"blocks.{len(model.net.blocks) - 2}", "differentiable")
    entering: list[Tensor] = []
    with model.net.blocks[-1].register_forward_pre_hook(lambda block, args: entering.append(args[0])):
        logits = model.net((images(model) - model.mean) / model.std)
    features = model.features(images(model))
    torch.testing.assert_close(features, entering[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.head(features), logits, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.view(images(model)).logits, logits, rtol=1e-12, atol=1e-12)
    side = model.grid(features).shape[2]
    patches = features[:, model.net.num_prefix_tokens :]
    assert torch.equal(model.grid(features), patches.mT.unflatten(2, (side, side)))


def test_copy_is_equal_and_independent(model):
    expected = model(images(model))
    assert set(model.state_dict()) == {f"net.{name}" for name in model.net.state_dict()}
    for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(clone(images(model)), expected)
        with torch.no_grad():
            for parameter in clone.parameters():
                parameter.zero_()
    assert torch.equal(model(images(model)), expected)


def test_the_head_without_dropout_leaves_out_all_of_the_last_block():
    model = make("test_vit", img_size=SIZE, drop_path_rate=0.5).train()
    assert model.has_dropout
    features = model.features(images(model)).detach()
    first, second = (model.head(features, dropout=False) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(model.head(features), model.head(features))
    assert all(module.training for module in model.modules())
    assert torch.equal(model.eval().head(features), first)


def test_networks_in_bfloat16_are_tapped_too():
    net = timm.create_model("test_vit", num_classes=3, img_size=SIZE).to(torch.bfloat16)
    assert TimmModel(net).feature_layer == f"blocks.{len(net.blocks) - 2}"


def test_it_compiles_as_a_whole():
    model = make("vit_small_patch16_rope_224", **SMALL)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images(model)), model(images(model)), rtol=1e-12, atol=1e-12)


def test_network_with_replaced_forward_features_has_no_map():
    net = timm.create_model("test_vit", num_classes=3, img_size=SIZE).eval()
    run = net.forward_features
    net.forward_features = lambda x, **given: run(x, **given) * 1.001
    model = TimmModel(net)
    assert model.head_form == "independent"
    x = images(model)
    assert torch.equal(model(x), net((x - model.mean) / model.std))


class Alone(nn.Module):
    """A block that mixes no tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(64), nn.Linear(64, 64)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.mlp(self.norm(tokens))


def test_blocks_that_mix_no_tokens_are_skipped():
    net = timm.create_model("test_vit", num_classes=3, img_size=SIZE, depth=4)
    net.blocks[-1] = Alone()
    assert TimmModel(net).feature_layer == "blocks.1"


def test_class_token_that_ignores_patches_has_no_map():
    net = timm.create_model("test_vit", num_classes=3, img_size=SIZE, depth=2).eval()
    net.blocks = nn.Sequential(Alone(), Alone()).eval()
    model = TimmModel(net)
    assert (model.feature_layer, model.head_form) == ("last", "independent")
    assert "no module inside gives a map" in model.obstacle
    x = images(model)
    assert torch.equal(model(x), net((x - model.mean) / model.std))
    assert torch.equal(model.features(x), net.forward_features((x - model.mean) / model.std))
