"""Loading from the Hub, by the real client."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import datasets
import numpy as np
import pytest
import timm
import torch
from huggingface_hub import HfApi, constants
from PIL import Image

from egat_hub.core.results import write_rows
from egat_hub.data import DataConfig, open_dataset
from egat_hub.hub import from_pretrained, push_to_hub
from tests.helpers.local_hub import GUEST, Fault
from tests.hub.conftest import LABELS, ROWS, images

WANTED = {"config.json", "model.safetensors", "egat.json", "results.json"}


@pytest.fixture
def published(hub, small_model) -> str:
    push_to_hub(small_model, "org/dog")
    hub.arm()
    return "org/dog"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def snapshots(cache: Path) -> dict[str, set[str]]:
    """Names of the files of each commit in a cache."""
    return {
        commit.name: {path.name for path in commit.iterdir()}
        for commit in cache.glob("models--*/snapshots/*")
    }


def test_only_required_files_are_downloaded(hub, published, small_model, tmp_path):
    more = {
        "modeling.py": b"import os",
        "pytorch_model.bin": b"\x80",
        "../evil": b"x",
        "a/config.json": b"{}",
    }
    hub.upload("model", published, {**files(small_model), **more})
    from_pretrained(published, cache_dir=tmp_path)
    assert list(snapshots(tmp_path).values()) == [WANTED]
    assert not any(
        name in request for request in hub.requests for name in ("modeling", "bin", "evil", "README")
    )


def test_a_second_load_downloads_nothing(hub, published, tmp_path):
    from_pretrained(published, cache_dir=tmp_path)
    hub.arm()
    from_pretrained(published, cache_dir=tmp_path)
    assert not any("/resolve/" in request for request in hub.requests)


@torch.no_grad()
def test_offline_loads_from_the_cache(hub, published, small_model, tmp_path, monkeypatch):
    expected = from_pretrained(published)(images())
    hub.arm()
    assert torch.equal(from_pretrained(published, local_files_only=True)(images()), expected)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(from_pretrained(published)(images()), expected)
    timm.create_model(f"hf-hub:{published}", pretrained=True)
    assert hub.requests == []
    for arguments in ({}, {"local_files_only": True}):
        with pytest.raises(FileNotFoundError, match="not in the cache"):
            from_pretrained("org/cat", **arguments)
        with pytest.raises(FileNotFoundError, match="not in the cache"):
            from_pretrained(published, cache_dir=tmp_path / "empty", **arguments)


@torch.no_grad()
def test_without_network_the_cache_serves(hub, published, monkeypatch):
    expected = from_pretrained(published)(images())
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert torch.equal(from_pretrained(published)(images()), expected)
    with pytest.raises(FileNotFoundError, match=r"Cannot load org/cat: .*the Hub cannot be reached"):
        from_pretrained("org/cat")


@torch.no_grad()
def test_load_at_a_revision(hub, published, small_model, tmp_path):
    first = hub.model(published).refs["main"]
    folder = shutil.copytree(small_model, tmp_path / "model")
    write_rows(folder / "results.json", ROWS[:1])
    push_to_hub(folder, published, revision="next/one")
    for revision in ("main", first, "next/one"):
        cache = tmp_path / revision.replace("/", "_")
        assert from_pretrained(f"{published}@{revision}", cache_dir=cache).label_names == LABELS
        assert list(snapshots(cache)) == [hub.model(published).refs.get(revision, first)]
        from_pretrained(f"{published}@{revision}", cache_dir=cache, local_files_only=True)
    with pytest.raises(FileNotFoundError, match=r"Cannot load org/dog: no such revision"):
        from_pretrained(f"{published}@v9")


def test_model_name_formats(hub, published, small_model, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="the Hub has no such model"):
        from_pretrained("org/cat")
    for name in ("dog", "a/b/c", "org/a b"):
        with pytest.raises(FileNotFoundError, match="org/name of a model"):
            from_pretrained(name)
    assert from_pretrained("hf-hub:org/dog").label_names == LABELS
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_model, tmp_path / "org" / "dog")
    hub.arm()
    from_pretrained("org/dog")
    assert hub.requests == []  # a folder goes first


def test_load_with_a_new_head(hub, published):
    assert from_pretrained(published, num_classes=5)(images()).shape == (2, 5)


def test_damaged_file_in_the_cache_is_refused_and_replaced(hub, published, tmp_path):
    from_pretrained(published, cache_dir=tmp_path)
    (blob,) = [path.resolve() for path in tmp_path.glob("models--*/snapshots/*/model.safetensors")]
    blob.write_bytes(blob.read_bytes()[:-20_000] + b"?" * 20_000)
    with pytest.raises(ValueError, match="force_download=True"):
        from_pretrained(published, cache_dir=tmp_path)
    from_pretrained(published, cache_dir=tmp_path, force_download=True)


def test_model_in_a_subfolder(hub, small_model, tmp_path):
    content = {f"models/small/{name}": data for name, data in files(small_model).items()}
    hub.upload("model", "org/many", {**content, "config.json": b"{}", "models/other/config.json": b"{}"})
    model = from_pretrained("org/many", subfolder="models/small", cache_dir=tmp_path / "cache")
    assert model.label_names == LABELS
    assert not list((tmp_path / "cache").rglob("other"))
    shutil.copytree(small_model, tmp_path / "many/small")
    assert from_pretrained(tmp_path / "many", subfolder="small").label_names == LABELS


def test_folder_of_a_run(small_model, tmp_path):
    shutil.copytree(small_model, tmp_path / "run/model")
    assert from_pretrained(tmp_path / "run").label_names == LABELS
    assert from_pretrained(f"local-dir:{tmp_path}/run").label_names == LABELS


@pytest.mark.parametrize("lacking", ["model.safetensors", "egat.json", "config.json"])
def test_repository_without_a_model_of_this_package(hub, small_model, lacking):
    content = {**files(small_model), "pytorch_model.bin": b"cos\nsystem\n"}
    content.pop(lacking)
    hub.upload("model", "org/other", content)
    with pytest.raises(FileNotFoundError, match=rf"has no {lacking}.*create_model\('hf-hub:org/other'"):
        from_pretrained("org/other")
    assert not any("pytorch_model" in request for request in hub.requests)


def test_gated_models(hub, published, tmp_path):
    hub.model(published).gated = True
    with pytest.raises(PermissionError, match=r"Ask for access at https://huggingface\.co/org/dog"):
        from_pretrained(published, token=GUEST)
    from_pretrained(published)


@pytest.fixture
def data_client(hub, tmp_path, monkeypatch):
    """The ``datasets`` library talks to the local Hub."""
    for name, value in {
        "HF_ENDPOINT": hub.url,
        "HF_DATASETS_CACHE": tmp_path / "datasets",
        "HF_HUB_OFFLINE": False,
        "HUB_DATASETS_URL": hub.url + "/datasets/{repo_id}/resolve/{revision}/{path}",
    }.items():
        monkeypatch.setattr(datasets.config, name, value)


def test_data_sets_of_the_hub_feed_a_recipe(hub, data_client, tmp_path):
    folder, rng = tmp_path / "animals", np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / "train" / label).mkdir(parents=True)
        for n in range(5):
            pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "train" / label / f"{n}.png")
    api = HfApi()
    api.create_repo("org/animals", repo_type="dataset")
    api.upload_folder(repo_id="org/animals", folder_path=folder, repo_type="dataset")
    dataset = open_dataset(DataConfig(name="org/animals"))
    assert dataset.domains == ("animals",)
    assert dataset.classes == ("cat", "dog")
    domain = dataset["animals"]
    assert np.bincount(domain.labels).tolist() == [5, 5]
    originals = {Image.open(path).tobytes() for path in folder.rglob("*.png")}
    assert {domain.load(index)[0].tobytes() for index in range(10)} == originals


@pytest.mark.parametrize("kind", ["none", "503", "403", "drop"])
def test_data_sets_that_cannot_be_opened(hub, data_client, kind):
    if kind != "none":
        hub.upload("dataset", "org/animals", {"train/cat/0.png": b"x"})
        hub.arm(Fault(kind, 1, 1000))
    with pytest.raises(FileNotFoundError, match=r"Cannot open 'org/animals' from the Hub: .*log in if"):
        open_dataset(DataConfig(name="org/animals"))


def test_a_revision_may_be_a_keyword(hub, published, small_model, tmp_path):
    commit = hub.model(published).refs["main"]
    expected = from_pretrained(f"{published}@{commit}")(images())
    assert torch.equal(from_pretrained(published, revision=commit)(images()), expected)
    with pytest.raises(FileNotFoundError):
        from_pretrained(published, revision="no-such-tag", cache_dir=tmp_path)
    for source in (f"{published}@{commit}", str(small_model)):
        with pytest.raises(ValueError, match="revision"):
            from_pretrained(source, revision=commit)
