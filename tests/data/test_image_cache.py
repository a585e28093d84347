"""The in-memory image cache returns the images of the files and respects its limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from egat_hub.data import DataConfig, TrainingView, UnreadableImageError, open_dataset, training_loader
from egat_hub.data.images import ImageCache

BYTES = 24 * 20 * 3
"""Size of a decoded image of the fixtures."""


class Counted:
    """A reader that records its calls."""

    def __init__(self, read):
        self.read, self.calls = read, []

    def __call__(self, index):
        self.calls.append(index)
        return self.read(index)


@pytest.fixture(params=["plain", "masks"])
def domain(request, masked_tree):
    root, masks = masked_tree
    masks_dir = str(masks) if request.param == "masks" else None
    return open_dataset(DataConfig(name="folder", dir=str(root), masks_dir=masks_dir))["indoor"]


def same(ours, theirs):
    return all(
        a is b is None or (a.mode == b.mode and np.array_equal(np.asarray(a), np.asarray(b)))
        for a, b in zip(ours, theirs, strict=True)
    )


def test_cached_images_equal_the_files_and_are_read_once(domain):
    read = Counted(domain.load)
    cache = ImageCache(read, range(6), limit=100 * BYTES)
    assert len(cache) == 6
    assert sorted(read.calls) == list(range(6))
    for index in (0, 5, 3, 5):
        assert same(cache(index), domain.load(index))
    assert len(read.calls) == 6
    assert same(cache(8), domain.load(8))
    assert read.calls[6:] == [8]


@pytest.mark.parametrize(("limit", "count"), [(0, 0), (BYTES - 1, 0), (3 * BYTES, 3), (4 * BYTES - 1, 3)])
def test_cache_size_is_limited(masked_tree, limit, count):
    domain = open_dataset(DataConfig(name="folder", dir=str(masked_tree[0])))["indoor"]
    cache = ImageCache(domain.load, np.array([7, 1, 2, 5]), limit=limit)
    assert len(cache) == count
    assert all(same(cache(index), domain.load(index)) for index in range(len(domain)))


def test_masks_count_towards_the_limit(masked_tree):
    root, masks = masked_tree
    domain = open_dataset(DataConfig(name="folder", dir=str(root), masks_dir=str(masks)))["indoor"]
    assert len(ImageCache(domain.load, range(8), limit=4 * BYTES)) == 3


def test_error_names_damaged_image(make_tree):
    root = make_tree(["indoor"], ["cat", "dog"])
    (root / "indoor" / "dog" / "0003.jpg").write_bytes(b"no image")
    config = DataConfig(name="folder", dir=str(root))
    domain = open_dataset(config, verify=False)["indoor"]
    with pytest.raises(UnreadableImageError, match=r"0003\.jpg"):
        domain.cached(domain.indices("all"), limit=2**20)


@pytest.mark.parametrize("start", [None, "spawn"])
def test_cached_view_equals_view_with_any_workers(domain, start):
    view = TrainingView(domain, image_size=16, seed=1)
    cache = view.cached(limit=3 * BYTES + 10)  # some in memory, some not
    keys = [(position, step) for step in range(2) for position in range(len(view))]
    workers = {} if start is None else {"num_workers": 2, "multiprocessing_context": start}
    found = list(torch.utils.data.DataLoader(cache, batch_size=None, sampler=keys, **workers))
    for item, key in zip(found, keys, strict=True):
        assert all(torch.equal(value, view[key][name]) for name, value in item.items())


def test_loader_reads_no_cached_file(masked_tree):
    domain = open_dataset(DataConfig(name="folder", dir=str(masked_tree[0])))["indoor"]
    view = TrainingView(domain, image_size=16, seed=1).cached(limit=2**20)
    for file in (masked_tree[0] / "indoor").glob("*/*.jpg"):
        file.unlink()
    batches = list(training_loader(view, batch_size=3, steps=5, seed=0))
    assert [len(batch["label"]) for batch in batches] == [3] * 5
