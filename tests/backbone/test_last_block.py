"""Class-token transformers are cut before their last block, and nothing of what they compute changes."""

from __future__ import annotations

import copy
import pickle

import pytest
import timm
import torch
from torch import Tensor, nn

from egat_hub.backbone import Backbone

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


def make(name: str, **arguments) -> Backbone:
    """A network whose every parameter is random, in eval mode and double precision."""
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=3, **arguments)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return Backbone(net).double().eval()


@pytest.fixture(scope="module", params=CUT)
def backbone(request) -> Backbone:
    name, arguments = CUT[request.param]
    return make(name, **arguments)


def images(backbone: Backbone) -> Tensor:
    size, generator = backbone.image_size, torch.Generator().manual_seed(1)
    return torch.rand(2, 3, size, size, generator=generator).to(backbone.mean)


def test_features_are_what_enters_the_last_block(backbone):
    assert (backbone.feature_layer, backbone.head_form) == ("before_last_block", "differentiable")
    entering: list[Tensor] = []
    with backbone.net.blocks[-1].register_forward_pre_hook(lambda block, args: entering.append(args[0])):
        logits = backbone.net((images(backbone) - backbone.mean) / backbone.std)
    features = backbone.features(images(backbone))
    torch.testing.assert_close(features, entering[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(backbone.head(features), logits, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(backbone.view(images(backbone)).logits, logits, rtol=1e-12, atol=1e-12)
    side = backbone.grid(features).shape[2]
    patches = features[:, backbone.net.num_prefix_tokens :]
    assert torch.equal(backbone.grid(features), patches.mT.unflatten(2, (side, side)))


def test_a_copy_computes_the_same_and_has_weights_of_its_own(backbone):
    expected = backbone(images(backbone))
    assert set(backbone.state_dict()) == {f"net.{name}" for name in backbone.net.state_dict()}
    for clone in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        assert torch.equal(clone(images(backbone)), expected)
        with torch.no_grad():
            for parameter in clone.parameters():
                parameter.zero_()
    assert torch.equal(backbone(images(backbone)), expected)


def test_the_head_without_dropout_leaves_out_all_of_the_last_block():
    backbone = make("test_vit", img_size=SIZE, drop_path_rate=0.5).train()
    assert backbone.has_dropout
    features = backbone.features(images(backbone)).detach()
    first, second = (backbone.head(features, dropout=False) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(backbone.head(features), backbone.head(features))
    assert all(module.training for module in backbone.modules())
    assert torch.equal(backbone.eval().head(features), first)


def test_weights_of_a_half_precision_network_are_cut_too():
    net = timm.create_model("test_vit", num_classes=3, img_size=SIZE).to(torch.bfloat16)
    assert Backbone(net).feature_layer == "before_last_block"


def test_it_compiles_as_a_whole():
    backbone = make("vit_small_patch16_rope_224", **SMALL)
    torch._dynamo.reset()
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images(backbone)), backbone(images(backbone)), rtol=1e-12, atol=1e-12)


def test_a_layer_between_block_and_head_stays_where_it_is():
    net = timm.create_model("test_vit", num_classes=3, img_size=SIZE).eval()
    run = net.forward_features
    net.forward_features = lambda x, **given: run(x, **given) * 1.001
    backbone = Backbone(net)
    assert backbone.feature_layer == f"blocks.{len(net.blocks) - 2}"
    x = images(backbone)
    assert torch.equal(backbone(x), net((x - backbone.mean) / backbone.std))


class Alone(nn.Module):
    """A block that mixes no tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(64), nn.Linear(64, 64)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.mlp(self.norm(tokens))


def test_blocks_that_mix_no_tokens_are_passed_over():
    net = timm.create_model("test_vit", num_classes=3, img_size=SIZE, depth=4)
    net.blocks[-1] = Alone()
    assert Backbone(net).feature_layer == "blocks.1"


def test_a_class_token_that_sees_no_patches_says_why_and_works_as_it_is():
    net = timm.create_model("test_vit", num_classes=3, img_size=SIZE, depth=2).eval()
    net.blocks = nn.Sequential(Alone(), Alone()).eval()
    backbone = Backbone(net)
    assert (backbone.feature_layer, backbone.head_form) == ("last", "independent")
    assert "no module inside gives a map" in backbone.obstacle
    x = images(backbone)
    assert torch.equal(backbone(x), net((x - backbone.mean) / backbone.std))
    assert torch.equal(backbone.features(x), net.forward_features((x - backbone.mean) / backbone.std))
