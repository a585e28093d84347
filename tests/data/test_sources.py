"""The contract of domains, for every registered data set."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from egat_hub.core.config import from_dict, to_dict
from egat_hub.core.registry import UnknownNameError
from egat_hub.data import BENCHMARKS, SOURCES, DataConfig, open_dataset

GENERATED = {"synthetic"}


@pytest.fixture(params=[*SOURCES, *BENCHMARKS])
def dataset(request, make_tree):
    name = request.param
    config = DataConfig(name=name, image_size=16, synthetic_size=30)
    if name not in GENERATED:
        spec = BENCHMARKS.get(name)
        domains, classes = (spec.domains, spec.classes) if spec else (("indoor", "outdoor"), ("cat", "dog"))
        config = DataConfig(name=name, dir=str(make_tree(domains, classes, count=3)))
    return open_dataset(config)


def test_domain_contract(dataset):
    for name, domain in dataset.items():
        assert (domain.dataset, domain.name, domain.classes) == (dataset.name, name, dataset.classes)
        assert len(domain) == len(domain.keys) == len(set(domain.keys)) == len(domain.labels)
        assert set(domain.labels.tolist()) == set(range(len(domain.classes)))
        assert domain.labels.dtype == np.int64
        image, mask = domain.load(len(domain) - 1)
        assert image.mode == "RGB"
        assert (mask is not None) == domain.has_masks
        parts = [domain.indices(part) for part in ("train", "val", "test")]
        assert sorted(np.concatenate(parts)) == domain.indices("all").tolist()


def test_domains_are_picklable(dataset):
    for domain in dataset.values():
        copy = pickle.loads(pickle.dumps(domain))
        assert np.array_equal(np.asarray(copy.load(1)[0]), np.asarray(domain.load(1)[0]))


def test_domains_are_looked_up_in_any_spelling(dataset):
    for name in dataset.domains:
        assert dataset[name.upper().replace("_", " ")] is dataset[name]
    assert "nowhere" not in dataset
    with pytest.raises(UnknownNameError, match="Known: "):
        dataset["nowhere"]
    with pytest.raises(UnknownNameError, match="Did you mean 'train'"):
        dataset[dataset.domains[0]].indices("trian")


def test_dataset_names_ignore_case_and_get_hints(make_tree):
    spec = BENCHMARKS["terra_incognita"]
    root = make_tree(spec.domains[:1], spec.classes, count=3)
    assert open_dataset(DataConfig(name="Terra Incognita", dir=str(root))).name == "terra_incognita"
    with pytest.raises(UnknownNameError, match=r"Did you mean 'vlcs'.*synthetic"):
        open_dataset(DataConfig(name="vlsc"))


@pytest.mark.parametrize(
    ("name", "setting", "remedy"),
    [
        ("synthetic", {"dir": "images"}, "folder"),
        ("synthetic", {"masks_dir": "masks"}, "folder"),
        ("folder", {"synthetic_size": 5}, "synthetic"),
        ("vlcs", {"synthetic_seed": 5}, "synthetic"),
        ("org/name", {"masks_dir": "masks"}, "folder"),
    ],
)
def test_settings_that_a_data_set_does_not_use_raise(name, setting, remedy):
    with pytest.raises(ValueError, match=rf"does not use {next(iter(setting))}.*\(--data {remedy}\)"):
        open_dataset(DataConfig(name=name, **setting))


def test_config_round_trips():
    config = DataConfig(name="folder", dir="images", image_size=64)
    assert from_dict(DataConfig, to_dict(config)) == config
