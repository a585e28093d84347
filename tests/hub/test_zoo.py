"""Published models by name, in this package and in timm."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import timm
import torch
from timm.data import resolve_model_data_config

from egat_hub.hub import from_pretrained, push_to_hub, save_pretrained
from egat_hub.hub import zoo as listing
from egat_hub.hub.timm_names import register
from egat_hub.hub.zoo import ZooModel, list_models
from egat_hub.models import TimmModel
from tests.hub.conftest import LABELS, METADATA, ROWS, images, small_backbone

NAME = "test_resnet.egat_dogs"


@pytest.fixture
def published(hub, small_model) -> ZooModel:
    push = push_to_hub(small_model, "org/dog")
    return on_the_hub(small_model, push.commit)


def on_the_hub(folder: Path, commit: str = "0" * 40) -> ZooModel:
    """A model in a folder, as if the Hub alone had its weights."""
    model = ZooModel.of_folder(folder, repo_id="org/dog", revision=commit)
    return dataclasses.replace(named(model), weights=None)


def named(model: ZooModel) -> ZooModel:
    """The model under a name that none of this release has."""
    return dataclasses.replace(model, pretrained_cfg={**model.pretrained_cfg, "tag": "egat_dogs"})


@pytest.fixture
def registry():
    """timm's registry is as before afterwards."""
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
def test_timm_knows_a_published_model_by_name(published, registry, small_model):
    before = {kind: timm.list_models(**kind_of) for kind, kind_of in KINDS.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register([published])
    assert timm.list_models("*dogs*", pretrained=True) == [NAME]
    assert timm.models.is_model_pretrained(NAME)
    for kind, kind_of in KINDS.items():
        assert [name for name in timm.list_models(**kind_of) if name != NAME] == before[kind]
    net = timm.create_model(NAME, pretrained=True).eval()
    config = resolve_model_data_config(net)
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    assert torch.equal(net((images() - mean) / std), from_pretrained(small_model)(images()))
    assert tuple(net.pretrained_cfg["label_names"]) == LABELS
    assert timm.create_model(NAME, pretrained=True, num_classes=7).num_classes == 7
    assert timm.models.get_pretrained_cfg("test_resnet").tag == "r160_in1k"
    register([published])
    assert timm.list_models("*dogs*", pretrained=True) == [NAME]


KINDS = {
    "all": {},
    "weights": {"pretrained": True},
    "module": {"module": "resnet"},
    "tags": {"filter": "test_resnet*", "include_tags": True},
}


def test_the_name_holds_the_weights_that_were_published(hub, published, registry):
    """A later push to the repository does not change what a name of this release stands for."""
    register([published])
    expected = timm.create_model(NAME, pretrained=True).state_dict()
    push_to_hub(small_backbone(seed=1), "org/dog", label_names=LABELS, metadata=METADATA)
    found = timm.create_model(NAME, pretrained=True).state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@torch.no_grad()
def test_a_name_stands_for_the_arguments_of_its_network(tmp_path, registry):
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=3, output_stride=8, global_pool="max")
    save_pretrained(
        TimmModel(net, image_size=64),
        tmp_path / "model",
        label_names=LABELS,
        metadata={**METADATA, "model_args": {"output_stride": 8}},
    )
    register([named(ZooModel.of_folder(tmp_path / "model"))])
    found = timm.create_model(NAME, pretrained=True).eval()
    assert torch.equal(found(images()), net.eval()(images()))
    assert found.forward_features(images()).shape[-1] == 8
    assert timm.create_model(NAME, output_stride=16).forward_features(images()).shape[-1] == 4
    assert timm.create_model("test_resnet.r160_in1k").forward_features(images()).shape[-1] == 2


def test_models_that_cannot_be_loaded_have_no_name(small_model, registry):
    model = on_the_hub(small_model)
    before = timm.list_models(), timm.list_pretrained()
    register([dataclasses.replace(model, repo_id="", revision="")])
    register([dataclasses.replace(model, architecture="resnet9000")])
    assert (timm.list_models(), timm.list_pretrained()) == before


def test_networks_without_weights_of_timm_keep_their_default(small_model, registry):
    bare = next(
        name for name in timm.list_models(module="resnet") if not timm.models.is_model_pretrained(name)
    )
    model = on_the_hub(small_model)
    register([dataclasses.replace(model, architecture=bare)])
    assert timm.models.is_model_pretrained(f"{bare}.egat_dogs")
    assert not timm.models.is_model_pretrained(bare)
    assert timm.models.get_pretrained_cfg(bare).hf_hub_id is None
    function = timm.models.model_entrypoint(bare)
    assert timm.models.is_model_in_modules(bare, "resnet")
    assert function.__name__ == bare


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, True),
        ({"dataset": "synthetic"}, True),
        ({"dataset": "SYN*", "architecture": "test_*", "method": "EGAT"}, True),
        ({"attack": "pgd", "epsilon": 0.01}, True),
        ({"epsilon": 0.0099}, True),
        ({"epsilon": 0.02}, False),
        ({"attack": "fgsm"}, False),
        ({"architecture": "resnet50"}, False),
        ({"method": "erm"}, False),
        ({"author": "org"}, True),
        ({"author": "other"}, False),
    ],
)
def test_filters(small_model, monkeypatch, wanted, found):
    model = on_the_hub(small_model)
    monkeypatch.setattr(listing, "shipped", lambda: [model])
    assert [one.repo_id for one in list_models(**wanted)] == (["org/dog"] if found else [])


def test_models_of_the_hub(hub, small_model, monkeypatch, tmp_path):
    push_to_hub(small_model, "org/dog")
    push_to_hub(small_model, "org/secret", private=True)
    spoiled = Path(shutil.copytree(small_model, tmp_path / "spoiled"))
    push_to_hub(spoiled, "org/spoiled")
    hub.model("org/spoiled").files()["results.json"] = hub.model("org/spoiled").files()["config.json"]
    hub.upload("model", "org/other", {"README.md": b"---\ntags:\n- timm\n---\n"})
    hub.arm()
    with pytest.warns(UserWarning, match=r"org/spoiled is left out: .*does not hold result rows"):
        found = list_models(hub=True, author="org", token=False, cache_dir=tmp_path / "cache")
    assert [model.repo_id for model in found] == ["org/dog"]
    assert found[0].rows == ROWS
    assert found[0].revision == hub.model("org/dog").refs["main"]
    assert from_pretrained(found[0].source).label_names == LABELS
    assert not any("safetensors" in request for request in hub.requests[:-7])
