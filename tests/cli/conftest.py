"""Small models and images, and the command line called in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from egat_hub.cli.main import main
from egat_hub.data import DataConfig, open_dataset
from egat_hub.hub import save_pretrained
from egat_hub.models import TimmModel
from tests.hub.conftest import hub, small_model  # noqa: F401

SIZE = 32


class Called(NamedTuple):
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def call(capfd) -> Callable[..., Called]:
    """Run a command line."""

    def run(*words: object) -> Called:
        capfd.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        return Called(code, *capfd.readouterr())

    return run


@pytest.fixture
def refused(call) -> Callable[..., None]:
    """Check that a command line ends in one line that says what to do."""

    def check(pattern: str, *words: object) -> None:
        called = call(*words)
        assert (called.code, called.out) == (1, "")
        (line,) = called.err.strip().splitlines()
        assert line.startswith("error: ")
        assert pattern in line

    return check


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Two images each of dogs and cats."""
    folder, pixels = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("dog/b.jpg", "dog/a.png", "cat/a.bmp", "cat/b.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.integers(0, 256, (70, 80, 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def synthetic_model(tmp_path_factory) -> Path:
    """A saved model of the classes of the generated images."""
    torch.manual_seed(0)
    classes = open_dataset(DataConfig(synthetic_size=15), ["meadow"]).classes
    net = timm.create_model("test_resnet", num_classes=len(classes))
    folder = tmp_path_factory.mktemp("models") / "synthetic"
    told = {"method": "erm", "dataset": "synthetic", "train_domain": "meadow", "seed": 3}
    save_pretrained(TimmModel(net, image_size=SIZE), folder, label_names=classes, metadata=told)
    return folder
