"""timm creates published models by name once they are registered, and not before."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import timm
import torch
from timm.data import resolve_model_data_config

from egat_hub.hub import from_pretrained, push_to_hub, save_pretrained
from egat_hub.hub.timm_files import register_timm_models
from egat_hub.hub.zoo import ModelInfo, find_models
from egat_hub.models import TimmModel

from .conftest import LABELS, METADATA, images, save_small_model

NAME = "test_resnet.egat_dogs"
ROOT = Path(__file__).parents[2]


def read(folder: Path, **changes) -> ModelInfo:
    """The model in a folder under a tag that no shipped model has."""
    info = ModelInfo.read(folder, "dog")
    cfg = {**info.pretrained_cfg, "tag": "egat_dogs"}
    return dataclasses.replace(info, pretrained_cfg=cfg, **changes)


@pytest.fixture
def published(hub, small_model) -> ModelInfo:
    commit = push_to_hub(small_model, "org/dog")
    return read(small_model, weights=None, repo_id="org/dog", revision=commit.oid)


@pytest.fixture
def registry():
    """timm's registry is restored afterwards."""
    module = sys.modules["timm.models.resnet"]
    before = dict(module.default_cfgs)
    functions = [timm.models.model_entrypoint(name) for name in timm.list_models(module="resnet")]
    yield
    module.default_cfgs = before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for function in functions:
            timm.models.register_model(function)


@torch.no_grad()
def test_published_model_has_a_name_in_timm(published, registry, small_model):
    queries = (
        {},
        {"pretrained": True},
        {"module": "resnet"},
        {"filter": "test_resnet*", "include_tags": True},
    )
    before = [timm.list_models(**query) for query in queries]
    register_timm_models([published])
    register_timm_models([published])
    assert timm.list_models("*dogs*", pretrained=True) == [NAME]
    assert [[n for n in timm.list_models(**query) if n != NAME] for query in queries] == before
    net = timm.create_model(NAME, pretrained=True).eval()
    config = resolve_model_data_config(net)
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    assert torch.equal(net((images() - mean) / std), from_pretrained(small_model)(images()))
    assert tuple(net.pretrained_cfg["label_names"]) == LABELS
    assert timm.create_model(NAME, pretrained=True, num_classes=7).num_classes == 7
    assert timm.models.get_pretrained_cfg("test_resnet").tag == "r160_in1k"


def test_name_is_pinned_to_a_commit(hub, published, registry, tmp_path):
    register_timm_models([published])
    expected = timm.create_model(NAME, pretrained=True).state_dict()
    save_small_model(tmp_path / "other", seed=1)
    push_to_hub(tmp_path / "other", "org/dog")
    found = timm.create_model(NAME, pretrained=True).state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@torch.no_grad()
def test_name_includes_the_arguments_of_the_network(tmp_path, registry):
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=3, output_stride=8, global_pool="max")
    metadata = {**METADATA, "model_args": {"output_stride": 8}}
    save_pretrained(TimmModel(net, image_size=64), tmp_path / "model", label_names=LABELS, metadata=metadata)
    register_timm_models([read(tmp_path / "model")])
    found = timm.create_model(NAME, pretrained=True).eval()
    assert torch.equal(found(images()), net.eval()(images()))
    assert timm.create_model(NAME, output_stride=16).forward_features(images()).shape[-1] == 4
    assert timm.create_model("test_resnet.r160_in1k").forward_features(images()).shape[-1] == 2


def test_invalid_models_are_not_registered(small_model, registry):
    before = timm.list_models(), timm.list_pretrained()
    register_timm_models([read(small_model, weights=None)])
    register_timm_models([read(small_model, architecture="resnet9000")])
    assert (timm.list_models(), timm.list_pretrained()) == before


def test_network_without_weights_in_timm_keeps_its_default(small_model, registry):
    bare = next(n for n in timm.list_models(module="resnet") if not timm.models.is_model_pretrained(n))
    register_timm_models([read(small_model, architecture=bare)])
    assert timm.models.is_model_pretrained(f"{bare}.egat_dogs")
    assert not timm.models.is_model_pretrained(bare)


def test_shipped_models_are_registered_on_request_only():
    script = (
        "import egat_hub, timm; print(timm.list_models('*egat*', pretrained=True)); "
        "egat_hub.register_timm_models(); print(*timm.list_models('*egat*', pretrained=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    shipped = sorted(info.timm_name for info in find_models() if info.location != "not published")
    assert done.stdout == f"[]\n{' '.join(shipped)}\n"
