"""The same photo gets the same answer in memory, after saving, in timm and in transformers."""

from __future__ import annotations

import io

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from egat_hub.data.transforms import PREPROCESSING
from egat_hub.hub import Classifier, from_pretrained
from egat_hub.models import TimmModel

LABELS = ("dog", "cat", "owl")
SIZES = {"wide": (190, 60), "tall": (50, 170), "tiny": (7, 5), "square": (64, 64)}


def photo(size: tuple[int, int]) -> Image.Image:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def rotated_photo() -> Image.Image:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    photo((90, 40)).save(stream, "jpeg", exif=exif, quality=95)
    return Image.open(stream)


PHOTOS = {**{name: photo(size) for name, size in SIZES.items()}, "rotated": rotated_photo()}


def classifier(name: str, **arguments) -> Classifier:
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=3, **arguments)
    torch.nn.init.normal_(net.get_classifier().weight)
    return Classifier(TimmModel(net), LABELS).eval()


def trained(name: str) -> Classifier:
    """A network with the preprocessing that training by this package records."""
    model = classifier(name)
    model.model.net.pretrained_cfg = {**model.model.net.pretrained_cfg, **PREPROCESSING}
    return model


MODELS = {
    **{
        name: lambda name=name: classifier(name)
        for name in (
            "test_resnet",
            "test_vit",
            "test_convnext",
            "test_efficientnet",
            "resnet10t",
            "tinynet_e",
        )
    },
    "squash": lambda: trained("test_resnet"),
    "border": lambda: classifier("test_resnet", pretrained_cfg_overlay={"crop_mode": "border"}),
    "arguments": lambda: classifier("test_resnet", output_stride=8, global_pool="max"),
    "size": lambda: classifier("test_vit", img_size=96),
}


@pytest.mark.parametrize("kind", MODELS)
def test_probabilities_of_photos_survive_saving(kind, tmp_path):
    model = MODELS[kind]()
    model.save_pretrained(tmp_path / "model")
    loaded = from_pretrained(tmp_path / "model")
    net = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(net), is_training=False)
    for image in PHOTOS.values():
        expected = pytest.approx(dict(model.explain(image).probabilities), abs=1e-5)
        assert dict(loaded.explain(image).probabilities) == expected
        with torch.no_grad():
            probabilities = net(transform(_upright(image))[None]).softmax(1)[0].tolist()
        assert dict(zip(LABELS, probabilities, strict=True)) == expected


@pytest.mark.parametrize("kind", MODELS)
def test_saved_models_open_in_transformers(kind, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = MODELS[kind]()
    model.save_pretrained(tmp_path / "model")
    pipeline = transformers.pipeline("image-classification", model=str(tmp_path / "model"), device="cpu")
    for image in PHOTOS.values():
        found = {entry["label"]: entry["score"] for entry in pipeline(_upright(image))}
        assert found == pytest.approx(dict(model.explain(image).probabilities), abs=1e-4)


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image).convert("RGB")


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_keeps_mean_and_std(dtype, tmp_path):
    model = classifier("resnet10t").to(dtype)
    model.save_pretrained(tmp_path / "model")
    loaded = from_pretrained(tmp_path / "model")
    assert loaded.model.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406], abs=1e-6)
    state = model.model.net.state_dict()
    assert all(torch.equal(w, state[key].to(w.dtype)) for key, w in loaded.model.net.state_dict().items())


def test_weights_stored_in_low_precision_load(tmp_path):
    from safetensors.torch import load_file, save_file

    classifier("resnet10t").save_pretrained(tmp_path / "model")
    path = tmp_path / "model/model.safetensors"
    weights = {k: w.bfloat16() if w.is_floating_point() else w for k, w in load_file(path).items()}
    save_file(weights, path)
    assert next(from_pretrained(tmp_path / "model").parameters()).dtype == torch.float32
    weights["fc.weight"] *= 1.2
    save_file(weights, path)
    with pytest.raises(ValueError, match="does not compute what was saved"):
        from_pretrained(tmp_path / "model")


def test_compiled_model_keeps_label_names_and_metadata(tmp_path):
    from egat_hub.hub import save_pretrained

    model = classifier("test_resnet")
    model.metadata["seed"] = 3
    save_pretrained(torch.compile(model), tmp_path / "model")
    loaded = from_pretrained(tmp_path / "model")
    assert (loaded.label_names, loaded.metadata) == (LABELS, {"seed": 3})


def test_replaced_head_is_named(tmp_path):
    model = classifier("test_resnet")
    model.model.net.fc = torch.nn.Linear(model.model.net.num_features, 7)
    with pytest.raises(ValueError, match=r"reset_classifier\(7\)"):
        model.save_pretrained(tmp_path / "model")
