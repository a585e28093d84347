"""A backbone is its network, fed with images in [0, 1]."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from egat_hub.hub.classifier import Classifier
from egat_hub.methods import METHODS
from egat_hub.models import TimmModel, unwrap

SIZE = 64
MEAN, STD = (0.3, 0.5, 0.6), (0.2, 0.25, 0.3)
FAMILIES = {
    "test_resnet": {},
    "test_efficientnet": {},
    "test_convnext": {},
    "test_vit": {"img_size": SIZE},
    "test_nfnet": {},
    "test_mambaout": {},
    "resnet10t": {},
    "mobilenetv3_small_050": {},
    "mobilenetv4_conv_small": {},
    "swin_tiny_patch4_window7_224": {
        "img_size": 64,
        "window_size": 2,
        "embed_dim": 24,
        "depths": (1, 1, 1, 1),
    },
}

CHANNELS_LAST = {"test_mambaout", "swin_tiny_patch4_window7_224"}


def images(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.fixture(scope="module", params=FAMILIES)
def net(request):
    torch.manual_seed(0)
    net = timm.create_model(request.param, num_classes=4, **FAMILIES[request.param]).eval()
    net.pretrained_cfg["mean"], net.pretrained_cfg["std"] = MEAN, STD
    return net


@pytest.fixture(scope="module")
def model(net) -> TimmModel:
    return TimmModel(net, image_size=SIZE)


def test_logits_equal_the_network_on_normalised_images(net, model):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    assert torch.equal(model(images()), net((images() - mean) / std))


def test_convolutions_use_channels_last_in_training_only():
    model = TimmModel(timm.create_model("test_resnet", num_classes=4), image_size=SIZE)
    weights = {name: value.stride() for name, value in model.state_dict().items()}
    layouts = {}
    for mode in (True, False):
        features = model.train(mode).features(images())
        layouts[mode] = features.is_contiguous(memory_format=torch.channels_last), features.is_contiguous()
    assert layouts == {True: (True, False), False: (False, True)}
    assert {name: value.stride() for name, value in model.state_dict().items()} == weights


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "resnet10t"])
def test_memory_format_changes_results_by_rounding_only(name):
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=4, pretrained_cfg_overlay={"mean": MEAN, "std": STD}).double()
    model, pixels = TimmModel(net, image_size=SIZE).train(), images(torch.float64)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
    torch.testing.assert_close(model(pixels), net((pixels - mean) / std), rtol=1e-10, atol=1e-10)


def test_view_runs_one_forward(net, model):
    view = model.view(images())
    assert torch.equal(view.images, images())
    assert torch.equal(view.features, model.features(images()))
    assert torch.equal(view.logits, model(images()))
    assert torch.equal(model.head(view.features), view.logits)


def test_the_grid_is_a_map_of_the_networks_channels(net, model):
    grid = model.grid(model.features(images()))
    assert grid.shape[:2] == (2, net.num_features if "mobilenetv4" not in model.architecture else 960)
    assert grid.shape[2] == grid.shape[3] > 1


def test_the_grid_has_the_layout_of_the_images(net, model):
    features = model.features(images())
    if features.ndim == 3:
        expected = features[:, 1:].mT.unflatten(2, (4, 4))
    else:
        last = model.architecture in CHANNELS_LAST
        expected = features.permute(0, 3, 1, 2) if last else features
    assert torch.equal(model.grid(features), expected)


def test_names_and_numbers_come_from_the_network(net, model):
    assert model.num_classes == 4
    assert model.architecture == net.pretrained_cfg["architecture"]
    assert model.classifier is net.get_classifier()


def test_the_weights_are_the_networks_alone(net, model):
    assert set(model.state_dict()) == {f"net.{name}" for name in net.state_dict()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_precision_is_that_of_the_network(dtype):
    net = timm.create_model("test_resnet", num_classes=4).eval().to(dtype)
    for model in (TimmModel(net, image_size=SIZE), TimmModel(net.float(), image_size=SIZE).to(dtype)):
        assert model.mean.dtype == dtype
        assert model(images(dtype)).dtype == dtype


def test_image_size_is_by_default_what_the_network_was_made_for():
    assert TimmModel(timm.create_model("test_resnet", num_classes=2)).image_size == 160
    assert TimmModel(timm.create_model("test_resnet", num_classes=2), image_size=32).image_size == 32


def test_class_tokens_have_no_place_in_the_grid():
    model = TimmModel(timm.create_model("test_vit", num_classes=2, img_size=64, reg_tokens=3))
    tokens = torch.arange(4 + 16.0).view(1, 20, 1).expand(1, 20, 64)
    assert torch.equal(model.grid(tokens)[0, 0], torch.arange(4, 20.0).view(4, 4))


def test_tokens_are_laid_out_as_the_patches():
    net = timm.create_model("test_vit", num_classes=2, img_size=64, class_token=False, global_pool="avg")
    net.patch_embed.grid_size = (2, 8)
    assert TimmModel(net).grid(torch.zeros(1, 16, 64)).shape == (1, 64, 2, 8)


@pytest.mark.parametrize(
    ("features", "message"),
    [(torch.zeros(2, 8), "no spatial map"), (torch.zeros(2, 8, 64), "no square grid")],
)
def test_features_without_positions_raise(features, message):
    net = timm.create_model("test_vit", num_classes=2, img_size=64, class_token=False, global_pool="avg")
    model = TimmModel(net)
    with pytest.raises(ValueError, match=message):
        model.grid(features)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mean_and_std_survive_low_precision(dtype):
    model = TimmModel(timm.create_model("test_resnet", num_classes=2))
    expected = model.mean.clone(), model.std.clone()
    model = model.to(dtype).float()
    assert torch.equal(model.mean, expected[0])
    assert torch.equal(model.std, expected[1])


def test_last_layer_replaced_by_hand_raises():
    net = timm.create_model("test_resnet", num_classes=3)
    net.fc = nn.Linear(net.num_features, 7)
    with pytest.raises(ValueError, match=r"7 outputs and num_classes is 3.*net\.reset_classifier\(7\)"):
        TimmModel(net)
    net.reset_classifier(7)
    assert TimmModel(net, image_size=SIZE)(images()).shape == (2, 7)


@pytest.mark.parametrize("channels", [1, 4])
def test_networks_for_other_images_than_rgb_raise(channels):
    with pytest.raises(ValueError, match=rf"RGB images, got one for {channels} channels\. .*in_chans=3"):
        TimmModel(timm.create_model("test_vit", num_classes=3, in_chans=channels))


@pytest.mark.parametrize(
    ("options", "image_size", "message"),
    [
        ({"img_size": 64}, 96, r"created for images of 64 x 64 pixels, not 96\. Pass img_size=96"),
        ({"img_size": (64, 96)}, None, r"square images, got img_size=\(64, 96\)"),
        ({"img_size": (64, 96)}, 64, r"square images, got img_size=\(64, 96\)"),
        ({}, 0, "one side of a square, got 0"),
        ({}, (64, 96), r"one side of a square, got \(64, 96\)"),
        ({"img_size": 72}, None, "multiple of the patches' 16 pixels, got 72; the next is 80"),
    ],
)
def test_image_size_that_does_not_fit_raises(options, image_size, message):
    net = timm.create_model("deit_tiny_patch16_224", num_classes=3, depth=1, **options)
    with pytest.raises(ValueError, match=message):
        TimmModel(net, image_size=image_size)


def test_networks_of_any_image_size_take_it():
    net = timm.create_model("test_vit", num_classes=3, img_size=64, dynamic_img_size=True)
    model = TimmModel(net, image_size=96)
    assert model.view(torch.rand(1, 3, 96, 96)).logits.shape == (1, 3)
    assert model.feature_layer != "last"


class Constant(nn.Module):
    """A module around a network of this package that answers in its own way."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.pretrained_cfg = {}

    def forward(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), 4)


def test_only_equivalent_wrappers_are_unwrapped():
    model = TimmModel(timm.create_model("test_resnet", num_classes=4), image_size=SIZE)
    own, classifier = Constant(model), Classifier(model, list("abcd"))
    assert unwrap(own) is own
    assert unwrap(classifier) is unwrap(METHODS["erm"](model)) is unwrap(model) is model
    assert isinstance(unwrap(model.net), TimmModel)


def test_forward_hook_on_the_model_runs_in_a_view():
    model = TimmModel(timm.create_model("test_resnet", num_classes=4), image_size=SIZE).eval()
    model.register_forward_hook(lambda module, args, logits: logits * 2)
    assert torch.equal(model.view(images()).logits, model(images()))
