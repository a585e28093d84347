"""What a model is judged on fits what it says of itself."""

from __future__ import annotations

import pytest
import timm
import torch

from egat_hub.core.config import to_dict
from egat_hub.data import DataConfig, open_dataset
from egat_hub.hub.classifier import Classifier
from egat_hub.hub.datasets import evaluation_images
from egat_hub.models import TimmModel

DATA = DataConfig(synthetic_size=15)
CLASSES = open_dataset(DATA, ["meadow"]).classes


def classifier(labels=CLASSES, **metadata):
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=len(labels))
    return Classifier(TimmModel(net, image_size=32), labels, metadata)


def test_the_domain_of_training_at_the_models_size():
    view = evaluation_images(classifier(train_domain="meadow", data=to_dict(DATA)), DATA)
    assert (view.domain.name, view.split) == ("meadow", "test")
    assert view[0]["image"].shape == (3, 32, 32)
    other = evaluation_images(classifier(train_domain="meadow"), DATA, domain="desert", split="all")
    assert (other.domain.name, len(other)) == ("desert", 15)


@pytest.mark.parametrize("other", [{"split_seed": 1}, {"synthetic_size": 16}])
def test_another_split_would_show_images_of_training(other):
    model, data = (
        classifier(train_domain="meadow", data=to_dict(DATA)),
        DataConfig(**{**to_dict(DATA), **other}),
    )
    ((name, value),) = [(name, getattr(DATA, name)) for name in other]
    with pytest.raises(ValueError, match=f"trained with {name} {value}"):
        evaluation_images(model, data)
    assert evaluation_images(model, data, split="all").split == "all"
    assert evaluation_images(model, data, domain="desert").domain.name == "desert"


def test_other_generated_images_may_be_split_as_they_like():
    model = classifier(train_domain="meadow", data=to_dict(DATA))
    assert len(evaluation_images(model, DataConfig(synthetic_size=20, synthetic_seed=5))) == 5


@pytest.mark.parametrize(
    ("model", "pattern"),
    [
        (classifier(), "name the domain"),
        (classifier(("dog", "cat"), train_domain="meadow"), "model's classes"),
    ],
)
def test_what_does_not_fit(model, pattern):
    with pytest.raises(ValueError, match=pattern):
        evaluation_images(model, DATA)
