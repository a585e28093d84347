"""The data set that a model is evaluated on comes from its metadata, unless another is given."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from egat_hub.core.config import digest, to_dict
from egat_hub.core.registry import UnknownNameError
from egat_hub.data import DataChanges, DataConfig, open_dataset
from egat_hub.hub.classifier import Classifier
from egat_hub.hub.datasets import evaluation_images
from egat_hub.models import TimmModel

DATA = DataConfig(synthetic_size=15)
CLASSES = open_dataset(DATA, ["meadow"]).classes
FOLDER = DataConfig(name="folder")


def classifier(labels=CLASSES, **metadata):
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=len(labels))
    return Classifier(TimmModel(net, image_size=32), labels, metadata)


@pytest.fixture
def root(tmp_path):
    """A folder of three domains of three classes, four images each."""
    for domain in ("day", "dusk", "night"):
        for n in range(12):
            path = tmp_path / "images" / domain / "abc"[n % 3] / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 20 * n, np.uint8)).save(path)
    return tmp_path / "images"


def trained_on(root, domain):
    images = open_dataset(DataConfig(name="folder", dir=str(root)))[domain]
    return classifier(
        list("abc"), train_domain=domain, data=to_dict(FOLDER), images=digest(sorted(images.keys))
    )


def in_folder(root):
    return DataChanges(dir=str(root))


def test_settings_and_domain_are_those_of_training():
    model = classifier(train_domain="meadow", data=to_dict(DATA))
    view = evaluation_images(model)
    assert (view.domain.name, view.split, len(view.domain)) == ("meadow", "test", 15)
    assert view[0]["image"].shape == (3, 32, 32)
    other = evaluation_images(model, domain="desert", split="all")
    assert (other.domain.name, len(other)) == ("desert", 15)


@pytest.mark.parametrize("other", [{"split_seed": 1}, {"synthetic_size": 16}])
def test_another_split_raises(other):
    model = classifier(train_domain="meadow", data=to_dict(DATA))
    ((name, value),) = [(name, getattr(DATA, name)) for name in other]
    with pytest.raises(ValueError, match=f"trained with {name} {value}"):
        evaluation_images(model, DataChanges(**other))
    assert evaluation_images(model, DataChanges(**other), split="all").split == "all"
    assert evaluation_images(model, DataChanges(**other), domain="desert").domain.name == "desert"


def test_split_is_free_for_other_synthetic_settings():
    model = classifier(train_domain="meadow", data=to_dict(DATA))
    assert len(evaluation_images(model, DataChanges(synthetic_size=20, synthetic_seed=5))) == 5


def test_a_folder_replaces_generated_images(root):
    model = classifier(list("abc"), train_domain="meadow", data=to_dict(DATA))
    view = evaluation_images(model, in_folder(root), domain="day")
    assert (view.domain.dataset, len(view.domain)) == ("folder", 12)
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        evaluation_images(model, in_folder(root / "nowhere"))
    with pytest.raises(ValueError, match="'synthetic' does not use dir"):
        evaluation_images(model, DataChanges(name="synthetic", dir=str(root)))


def test_single_domain_is_the_default(root):
    view = evaluation_images(trained_on(root, "day"), in_folder(root / "dusk"))
    assert (view.domain.name, len(view.domain)) == ("dusk", 12)


def test_the_training_domain_with_other_images_is_another_domain(root):
    model = trained_on(root, "day")
    assert evaluation_images(model, in_folder(root)).domain.name == "day"
    shutil.copy(root / "day/a/0.png", root / "day/a/new.png")
    with pytest.warns(UserWarning, match="has other images than the model was trained on"):
        view = evaluation_images(model, in_folder(root))
    assert view.domain.name == "day (other images)"


def test_subset_of_classes_without_a_split(root):
    model = trained_on(root, "day")
    shutil.rmtree(root / "night/a")
    (root / "night/c/2.png").unlink()
    view = evaluation_images(model, in_folder(root), domain="night", split="all")
    assert sorted(int(item["label"]) for item in view) == [1, 1, 1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match="Class 'a' of folder/night has 0 image"):
        evaluation_images(model, in_folder(root), domain="night")


def test_invalid_datasets_raise(root):
    with pytest.raises(ValueError, match="names no data set"):
        evaluation_images(classifier())
    with pytest.raises(
        ValueError, match=r"Expected the name of a domain \(--domain\), one of day, dusk, night"
    ):
        evaluation_images(classifier(list("abc"), train_domain="noon", data=to_dict(FOLDER)), in_folder(root))
    with pytest.raises(ValueError, match="has also c"):
        evaluation_images(classifier(list("ab")), in_folder(root), domain="day")
    with pytest.raises(UnknownNameError, match="Did you mean 'night'"):
        evaluation_images(trained_on(root, "day"), in_folder(root), domain="nihgt")
