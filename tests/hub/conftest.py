"""A local Hub that the real clients talk to, quickly, and small models to put there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from egat_hub.core.results import Row
from egat_hub.hub import save_pretrained
from egat_hub.models import TimmModel
from tests.helpers.local_hub import OWNER, LocalHub

SIZE = 64
LABELS = ("dog", "cat", "owl")
METADATA = {"method": "egat", "dataset": "synthetic", "train_domain": "meadow", "seed": 3}
ATTACK = {"attack": "pgd", "epsilon": 0.01, "steps": 10, "restarts": 1}


def row(metric: str, value: float, *, test_domain: str = "meadow", **protocol) -> Row:
    return Row(
        "test_resnet", "egat", "synthetic", "meadow", test_domain, "test", metric, value, 120, 3, protocol
    )


ROWS = (
    row("clean_accuracy", 91.5),
    row("robust_accuracy", 47.25, **ATTACK),
    row("clean_accuracy", 63.0, test_domain="desert"),
)


def small_backbone(seed: int = 0) -> TimmModel:
    torch.manual_seed(seed)
    return TimmModel(timm.create_model("test_resnet", num_classes=3), image_size=SIZE).eval()


def images() -> torch.Tensor:
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def save_small_model(folder: Path, *, seed: int = 0) -> None:
    save_pretrained(small_backbone(seed), folder, label_names=LABELS, metadata=METADATA, rows=ROWS)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    """The folder of a saved model; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "test_resnet.egat_synthetic"
    save_small_model(folder)
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[LocalHub]:
    """A Hub that clients of this process talk to as the owner; they do not wait before they try again."""
    with LocalHub() as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_TOKEN_PATH": str(tmp_path / "no_token"),
            "HF_HUB_DISABLE_TELEMETRY": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", OWNER)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        huggingface_hub.utils.disable_progress_bars()
        close_session()
        yield server
        close_session()
