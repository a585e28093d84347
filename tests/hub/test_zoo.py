"""Listing models: those that ship with the package, those on the Hub, those in folders."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

import egat_hub
from egat_hub.hub import from_pretrained, list_models, model_info, push_to_hub, zoo
from egat_hub.hub.zoo import ModelInfo

from .conftest import LABELS, ROWS


def test_names_are_sorted_and_filtered_by_wildcards():
    names = list_models()
    assert names == sorted(names)
    assert "synthetic-tiny" in names
    assert list_models("synth*") == ["synthetic-tiny"]
    assert list_models("SYNTH*", dataset="synthetic") == ["synthetic-tiny"]
    assert list_models("no_such") == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
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
def test_filter_by_method_and_data(small_model, monkeypatch, wanted, found):
    info = dataclasses.replace(ModelInfo.read(small_model, "org/dog"), repo_id="org/dog")
    monkeypatch.setattr(zoo.layout, "shipped_models", lambda: ["dog"])
    monkeypatch.setattr(zoo, "_read_shipped", lambda name: info)
    assert list_models(**wanted) == (["org/dog"] if found else [])


def test_list_models_on_the_hub(hub, small_model, tmp_path):
    push_to_hub(small_model, "org/dog")
    push_to_hub(small_model, "org/secret", private=True)
    push_to_hub(small_model, "org/spoiled")
    hub.model("org/spoiled").files()["results.json"] = hub.model("org/spoiled").files()["config.json"]
    hub.upload("model", "org/other", {"README.md": b"---\ntags:\n- timm\n---\n"})
    options = {"token": False, "cache_dir": tmp_path / "cache"}
    with pytest.warns(UserWarning, match=r"org/spoiled is left out: .*does not hold result rows"):
        assert list_models(hub=True, author="org", **options) == ["org/dog"]
    info = model_info("org/dog", **options)
    assert info.rows == ROWS
    assert info.revision == hub.model("org/dog").refs["main"]
    assert (info.location, info.label_names) == ("Hub", LABELS)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    assert from_pretrained(info.name).label_names == LABELS


def test_info_of_shipped_and_saved_models(small_model, tmp_path):
    assert model_info("synthetic-tiny").weights.name == "model.safetensors"
    info = model_info(str(small_model))
    assert (info.timm_name, info.method, info.rows) == ("test_resnet.egat_synthetic", "egat", ROWS)
    shutil.copytree(small_model, tmp_path / "run/model")
    assert model_info(str(tmp_path / "run")).rows == ROWS
    assert list_models(folders=[tmp_path]) == [str(tmp_path / "run/model")]
    with pytest.raises(FileNotFoundError, match=r"Expected a saved model.*got 'no_such'"):
        model_info("no_such")


@pytest.mark.parametrize("change", [{"label_names": ["\x1b[2J"]}, {"metadata": 3}, {"label_names": None}])
def test_invalid_files_raise(small_model, tmp_path, change):
    folder = Path(shutil.copytree(small_model, tmp_path / "model"))
    manifest = json.loads((folder / "egat.json").read_text())
    (folder / "egat.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(ValueError, match="does not hold a model as egat_hub saves it"):
        model_info(str(folder))


def test_public_names_are_few_and_documented():
    assert len(egat_hub.__all__) <= 35
    for name in set(egat_hub.__all__) - {"__version__"}:
        value = getattr(egat_hub, name)
        assert (value.__doc__ or "").strip(), name
