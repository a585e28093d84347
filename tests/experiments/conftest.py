"""A small model that was trained on generated images, and folders of images to fine-tune it on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from egat_hub.data import DataConfig, open_dataset
from egat_hub.evaluation import EvaluationConfig
from egat_hub.experiments.finetuning import FinetuneOptions
from egat_hub.experiments.runner import recorded
from egat_hub.hub import save_pretrained
from egat_hub.methods import EGATConfig
from egat_hub.models import ModelConfig, TimmModel
from egat_hub.training import TrainConfig
from tests.hub.conftest import hub  # noqa: F401

SIZE = 32
OLD = DataConfig(synthetic_size=40, image_size=SIZE)
KNOWN = open_dataset(OLD, ["meadow"]).classes


def save_base(
    folder: Path, name: str = "test_resnet", *, labels: tuple[str, ...] = KNOWN, **args: Any
) -> Path:
    """Save an untrained network as a model that was trained on the meadows."""
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=len(labels), **args)
    with torch.no_grad():
        net.get_classifier().weight.normal_(std=0.2)
    trained = {"method": "erm", "dataset": "synthetic", "train_domain": "meadow", "seed": 3}
    metadata = {**trained, "data": recorded(OLD)}
    save_pretrained(TimmModel(net, image_size=SIZE), folder, label_names=labels, metadata=metadata)
    return folder


def write_images(root: Path, *folders: str, count: int = 6) -> Path:
    """Folders of noise, each of another colour."""
    pixels = np.random.default_rng(0)
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for image in range(count):
            noise = pixels.integers(40 * number, 40 * number + 90, (36, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / folder / f"{image}.png")
    return root


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    return save_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="session")
def pets(tmp_path_factory) -> Path:
    """One domain of three classes that the model does not know."""
    return write_images(tmp_path_factory.mktemp("data") / "pets", "cat", "dog", "owl")


@pytest.fixture
def finetune_options(base, pets, tmp_path) -> Callable[..., FinetuneOptions]:
    """Options of fine-tuning for three steps on the pets; keyword arguments change fields."""

    def make(**changes: Any) -> FinetuneOptions:
        train = TrainConfig(
            **{"steps": 3, "batch_size": 4, "lr": 1e-2, "selection": "last", **changes.pop("train", {})}
        )
        given: dict[str, Any] = {
            "model": ModelConfig(name=changes.pop("source", str(base))),
            "data": DataConfig(name="folder", dir=str(pets)),
            "train": train,
            "evaluation": EvaluationConfig(attack_options={"steps": 2}, checks=0),
            "configs": {"egat": EGATConfig(attack_steps=1)},
            "output": tmp_path / "run",
        }
        return FinetuneOptions(**{**given, **changes})

    return make
