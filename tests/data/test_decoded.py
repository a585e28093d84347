"""Images kept in memory are those of the files, and as many as fit."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch

from egat_hub.data import DataConfig, TrainingView, UnreadableImageError, open_dataset, training_loader
from egat_hub.data.cache import Decoded

BYTES = 24 * 20 * 3
"""Of an image of the fixtures, decoded."""


class Counted:
    """A reader that knows how often it was asked for what."""

    def __init__(self, read):
        self.read, self.asked = read, []

    def __call__(self, index):
        self.asked.append(index)
        return self.read(index)


@pytest.fixture(params=["plain", "masks"])
def domain(request, masked_tree):
    root, masks = masked_tree
    masks_dir = str(masks) if request.param == "masks" else None
    return open_dataset(DataConfig(name="folder", data_dir=str(root), masks_dir=masks_dir))["indoor"]


def same(ours, theirs):
    return all(
        a is b is None or (a.mode == b.mode and np.array_equal(np.asarray(a), np.asarray(b)))
        for a, b in zip(ours, theirs, strict=True)
    )


def test_what_is_kept_is_what_was_read_and_is_read_once(domain):
    read = Counted(domain.load)
    kept = Decoded(read, range(6), limit=100 * BYTES)
    assert len(kept) == 6
    assert sorted(read.asked) == list(range(6))
    for index in (0, 5, 3, 5):
        assert same(kept(index), domain.load(index))
    assert len(read.asked) == 6
    assert same(kept(8), domain.load(8))
    assert read.asked[6:] == [8]


@pytest.mark.parametrize(("room", "count"), [(0, 0), (BYTES - 1, 0), (3 * BYTES, 3), (4 * BYTES - 1, 3)])
def test_as_many_are_kept_as_fit(masked_tree, room, count):
    domain = open_dataset(DataConfig(name="folder", data_dir=str(masked_tree[0])))["indoor"]
    kept = Decoded(domain.load, np.array([7, 1, 2, 5]), limit=room)
    assert len(kept) == count
    assert all(same(kept(index), domain.load(index)) for index in range(len(domain)))


def test_masks_count(masked_tree):
    root, masks = masked_tree
    domain = open_dataset(DataConfig(name="folder", data_dir=str(root), masks_dir=str(masks)))["indoor"]
    assert len(Decoded(domain.load, range(8), limit=4 * BYTES)) == 3


def test_damaged_images_are_named(make_tree):
    root = make_tree(["indoor"], ["cat", "dog"])
    (root / "indoor" / "dog" / "0003.jpg").write_bytes(b"no image")
    config = DataConfig(name="folder", data_dir=str(root))
    domain = open_dataset(config, verify=False)["indoor"]
    with pytest.raises(UnreadableImageError, match=r"0003\.jpg"):
        domain.decoded(domain.indices("all"), limit=2**20)


@pytest.mark.parametrize("start", [None, *multiprocessing.get_all_start_methods()])
def test_views_give_the_same_with_any_workers(domain, start):
    view = TrainingView(domain, image_size=16, seed=1)
    kept = view.decoded(limit=3 * BYTES + 10)  # some in memory, some not
    keys = [(position, step) for step in range(2) for position in range(len(view))]
    workers = {} if start is None else {"num_workers": 2, "multiprocessing_context": start}
    found = list(torch.utils.data.DataLoader(kept, batch_size=None, sampler=keys, **workers))
    for item, key in zip(found, keys, strict=True):
        assert all(torch.equal(value, view[key][name]) for name, value in item.items())


def test_a_loader_does_not_touch_files_that_are_kept(masked_tree):
    domain = open_dataset(DataConfig(name="folder", data_dir=str(masked_tree[0])))["indoor"]
    view = TrainingView(domain, image_size=16, seed=1).decoded(limit=2**20)
    for file in (masked_tree[0] / "indoor").glob("*/*.jpg"):
        file.unlink()
    batches = list(training_loader(view, batch_size=3, steps=5, seed=0))
    assert [len(batch["label"]) for batch in batches] == [3] * 5
