from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from egat_hub.core.registry import UnknownNameError
from egat_hub.data.images import read_image
from egat_hub.explanations import GradCAM
from egat_hub.hub.classifier import Classifier
from egat_hub.models import TimmModel

SIZE = 64
LABELS = ("dog", "cat", "owl")


def picture(mode: str = "RGB", size: tuple[int, int] = (90, 70)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=3)
    return Classifier(TimmModel(net, image_size=SIZE), LABELS)


def test_forward_gives_the_logits_of_the_backbone(classifier):
    images = torch.rand(2, 3, SIZE, SIZE)
    classifier.eval()
    assert torch.equal(classifier(images), classifier.model(images))


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear"},
        {"crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic"},
        {"crop_pct": 1.0, "crop_mode": "border", "interpolation": "bilinear"},
    ],
)
def test_transform_is_the_one_of_timm_without_normalisation(settings):
    net = timm.create_model("test_resnet", num_classes=3, pretrained_cfg_overlay=settings)
    model = TimmModel(net)
    config = resolve_model_data_config(net)
    normalised = create_transform(**config, is_training=False)(picture())
    ours = Classifier(model, LABELS).transform(picture())
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    assert ours.shape == (3, model.image_size, model.image_size)
    assert torch.equal((ours - mean) / std, normalised)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "HSV"])
def test_transform_supports_every_image_mode(classifier, mode):
    pixels = classifier.transform(picture(mode))
    assert pixels.dtype == torch.float32
    assert pixels.shape == (3, SIZE, SIZE)
    assert 0 <= pixels.min() < pixels.max() <= 1


def test_floating_point_images_raise(classifier):
    with pytest.raises(ValueError, match="floating-point pixels"):
        classifier.transform(picture("F"))


def test_files_are_read_as_in_training(classifier, tmp_path):
    turned, exif = picture(), Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = read_image(tmp_path / "turned.jpg", name="turned")
    assert upright.size == turned.size[::-1]
    assert classifier.explain(tmp_path / "turned.jpg").image.size == classifier.explain(upright).image.size
    assert torch.equal(
        classifier.transform(Image.open(tmp_path / "turned.jpg")), classifier.transform(upright)
    )


def test_sixteen_bit_gray_is_scaled_and_not_clipped(classifier):
    gray = np.linspace(0, 65535, SIZE * SIZE).reshape(SIZE, SIZE).astype(np.uint16)
    eight_bit = Image.fromarray((gray / 257).round().astype(np.uint8))
    assert torch.equal(classifier.transform(Image.fromarray(gray)), classifier.transform(eight_bit))


def test_explanation_of_the_prediction(classifier):
    why = classifier.explain(picture())
    pixels = classifier.transform(picture())
    with torch.no_grad():
        probabilities = classifier.eval()(pixels[None]).softmax(1)[0]
    assert why.label == LABELS[int(probabilities.argmax())]
    assert why.probability == pytest.approx(probabilities.max().item())
    assert list(why.probabilities) == list(LABELS)
    assert sum(why.probabilities.values()) == pytest.approx(1)
    assert why.saliency.shape == (SIZE, SIZE)
    assert why.saliency.min() == 0
    assert why.saliency.max() == 1
    assert not why.dead
    assert np.array_equal(np.asarray(why.image), (pixels * 255).round().byte().permute(1, 2, 0).numpy())


def test_saliency_is_the_upsampled_map(classifier):
    why = classifier.explain(picture(), label=1, explanation=GradCAM(normalize="none"))
    images = classifier.transform(picture())[None]
    maps = GradCAM()(classifier.eval().model, images, torch.tensor([1]))
    larger = torch.nn.functional.interpolate(maps[None], (SIZE, SIZE), mode="bilinear")[0, 0].detach()
    larger = (larger - larger.min()) / (larger.max() - larger.min())
    assert torch.allclose(why.saliency, larger, atol=1e-5)


def test_label_by_name_and_by_index(classifier):
    by_name, by_index = (classifier.explain(picture(), label=label) for label in ("owl", 2))
    assert by_name.label == by_index.label == "owl"
    assert by_name.probability == by_name.probabilities["owl"]
    assert torch.equal(by_name.saliency, by_index.saliency)


def test_list_gives_the_same_results_as_single_images(classifier, tmp_path):
    path = tmp_path / "dog.png"
    picture().save(path)
    images = [path, str(path), picture(), classifier.transform(picture())]
    explained = classifier.explain(images)
    alone = classifier.explain(picture())
    assert len(explained) == len(images)
    for why in explained:
        assert why.label == alone.label
        assert torch.allclose(why.saliency, alone.saliency, atol=1e-5)
    assert classifier.explain([]) == []


def test_overlay_is_drawn_between_image_and_map(classifier):
    why = classifier.explain(picture())
    gray = np.asarray(picture().convert("L").convert("RGB"))
    assert np.array_equal(np.asarray(why.overlay(alpha=0)), gray)
    assert np.asarray(why.overlay(alpha=1)).std() > 0
    with pytest.raises(ValueError, match=r"alpha in \[0, 1\]"):
        why.overlay(alpha=2)


def test_a_constant_map_is_dead_and_empty(classifier):
    torch.nn.init.zeros_(classifier.model.classifier.weight)
    why = classifier.explain(picture())
    assert why.dead
    assert not why.saliency.any()


def test_model_state_is_unchanged(classifier):
    classifier.train()
    classifier.model.net.layer1.eval()
    modes = [module.training for module in classifier.modules()]
    state = {key: value.clone() for key, value in classifier.state_dict().items()}
    classifier.explain(picture())
    with pytest.raises(ValueError, match="No class"):
        classifier.explain(picture(), label="dgo")
    assert [module.training for module in classifier.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in classifier.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.parameters())


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet"])
def test_other_families(name):
    model = TimmModel(timm.create_model(name, num_classes=3))
    why = Classifier(model, LABELS).explain(picture())
    assert why.saliency.shape == (model.image_size, model.image_size)


def test_unknown_labels_and_explanations_raise(classifier):
    with pytest.raises(ValueError, match=r"'dgo'.*'dog'.*Known: dog, cat, owl"):
        classifier.explain(picture(), label="dgo")
    for index in (3, -1):
        with pytest.raises(ValueError, match=rf"from 0 to 2, got {index}"):
            classifier.explain(picture(), label=index)
    with pytest.raises(UnknownNameError, match="grad_cam"):
        classifier.explain(picture(), explanation="gradcam")


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.rand(3, 32, 32), r"\[3,64,64\], got torch.float32 \[3, 32, 32\]"),
        (torch.rand(1, 3, SIZE, SIZE), "a list of tensors for a batch"),
        (torch.zeros(3, SIZE, SIZE, dtype=torch.uint8), "torch.uint8"),
        (torch.full((3, SIZE, SIZE), 255.0), "leave normalisation out"),
        (torch.full((3, SIZE, SIZE), -1.0), "leave normalisation out"),
        (torch.full((3, SIZE, SIZE), torch.nan), "got nan"),
    ],
)
def test_tensors_of_another_shape_or_range_raise(classifier, pixels, message):
    with pytest.raises(ValueError, match=message):
        classifier.explain(pixels)


def test_bad_image_files_are_named(classifier, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.png, found nothing"):
        classifier.explain(tmp_path / "missing.png")
    with pytest.raises(FileNotFoundError, match="found a folder"):
        classifier.explain(tmp_path)
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    with pytest.raises(ValueError, match=r"Cannot read .*text\.jpg"):
        classifier.explain(text)
    whole, cut = tmp_path / "whole.png", tmp_path / "cut.png"
    picture().save(whole)
    cut.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"Cannot read .*cut\.png"):
        classifier.explain(str(cut))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("dog", "cat"), "Expected 3 label names.*got 2"),
        (("dog", "cat", "dog"), "more than one dog"),
        ("dog", "as a list of strings"),
        ({"dog", "cat", "owl"}, "in the order of the logits"),
        ({0: "dog", 1: "cat", 2: "owl"}, "as a list of strings"),
        ((0, 1, 2), "as a list of strings"),
    ],
)
def test_number_of_label_names_must_match(classifier, names, message):
    with pytest.raises(ValueError, match=message):
        Classifier(classifier.model, names)


def test_every_input_type_gives_the_same_prediction(classifier, tmp_path):
    image, path, buffer = picture(), tmp_path / "dog.png", io.BytesIO()
    image.save(path)
    image.save(buffer, "png")
    content = buffer.getvalue()
    expected = classifier.explain(image).probability
    array = np.asarray(image)
    for form in (path, str(path), content, io.BytesIO(content), path.open("rb"), array):
        assert classifier.explain(form).probability == expected
    gray = classifier.explain(np.asarray(image.convert("L"))).probability
    assert gray == classifier.explain(image.convert("L")).probability


@pytest.mark.parametrize(
    "image", [None, 3, {"a": 1}, np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 7), np.uint8), np.zeros(3)]
)
def test_unsupported_input_types_raise(classifier, image):
    with pytest.raises(
        TypeError, match=r"Expected a path, a PIL image, the bytes .* a float tensor \[3,S,S\]"
    ):
        classifier.explain(image)


def test_oversize_images_raise(classifier, tmp_path, monkeypatch):
    picture().save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"large\.png.*resize it, or raise PIL\.Image\.MAX_IMAGE_PIXELS"):
        classifier.explain(tmp_path / "large.png")


def test_urls_raise(classifier):
    with pytest.raises(ValueError, match="download the file"):
        classifier.explain("https://example.org/dog.png")


def test_labels_of_any_integer_type(classifier):
    for label in (2, np.int64(2), torch.tensor(2)):
        assert classifier.explain(picture(), label).label == "owl"
    for label in (1.0, True, b"owl", torch.tensor(1.5), None.__class__):
        with pytest.raises(TypeError, match="name or the integer index"):
            classifier.explain(picture(), label)


def test_one_label_per_image(classifier):
    found = classifier.explain([picture()] * 3, ["owl", 0, np.int32(1)])
    assert [why.label for why in found] == ["owl", "dog", "cat"]
    with pytest.raises(ValueError, match="one label for each of 3 images, got 2"):
        classifier.explain([picture()] * 3, [0, 1])


def test_lists_are_explained_in_batches(classifier, monkeypatch):
    sizes, view = [], classifier.model.view
    monkeypatch.setattr(classifier.model, "view", lambda x: (sizes.append(len(x)), view(x))[1])
    whole = classifier.explain([picture()] * 5, batch_size=2)
    assert sizes == [2, 2, 1]
    assert len(whole) == 5


def test_explanation_by_class(classifier):
    assert classifier.explain(picture(), explanation=GradCAM).label in LABELS


def test_nan_weights_raise(classifier):
    classifier.model.classifier.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        classifier.explain(picture())


def test_dead_maps_raise_a_warning(classifier):
    torch.nn.init.zeros_(classifier.model.classifier.weight)
    with pytest.warns(UserWarning, match="saliency map of 1 of 1 images is constant"):
        classifier.explain(picture())


@pytest.mark.parametrize("size", [(160, 64), (64, 160), (80, 80)])
@pytest.mark.parametrize("crop_mode", ["squash", "center", "border"])
def test_map_is_aligned_with_the_cropped_image(classifier, size, crop_mode):
    """The map of one bright position, at the photo's size, covers the pixels that this position saw."""
    net = classifier.model.net
    net.pretrained_cfg = {**net.pretrained_cfg, "crop_pct": 0.8, "crop_mode": crop_mode}
    why = classifier.explain(picture(size=size))
    inside = classifier.transform(Image.new("RGB", size, "white"))[0] > 0.99  # not padded
    for place in ((16, 16), (48, 16), (32, 32)):
        mask = torch.zeros(SIZE, SIZE)
        mask[place[1] - 8 : place[1] + 8, place[0] - 8 : place[0] + 8] = 1
        found = dataclasses.replace(why, saliency=mask).saliency_of(picture(size=size))
        assert found.shape == (size[1], size[0])
        seen = classifier.transform(Image.fromarray((found * 255).byte().numpy()))[0]
        assert (seen - mask)[inside].abs().mean() < 0.05


def test_overlay_has_the_size_of_the_photo(classifier, tmp_path):
    picture(size=(120, 50)).save(tmp_path / "wide.png")
    for source in (tmp_path / "wide.png", picture(size=(120, 50))):
        assert classifier.explain(source).overlay().size == (120, 50)
    assert classifier.explain(torch.rand(3, SIZE, SIZE)).overlay().size == (SIZE, SIZE)
