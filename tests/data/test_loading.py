"""Batches depend on seed and step only: not on restarts, processes or workers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egat_hub.core.options import message_of
from egat_hub.data import (
    DataConfig,
    EvaluationView,
    TrainingView,
    UnreadableImageError,
    batch_positions,
    open_dataset,
    training_loader,
)


@pytest.fixture(scope="module")
def domain():
    return open_dataset(DataConfig(synthetic_size=50, image_size=16))["meadow"]


@pytest.fixture(scope="module")
def view(domain):
    return TrainingView(domain, image_size=16, seed=1)


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name]), name


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 3))
def test_every_epoch_is_a_permutation(size, batch_size, seed):
    steps = 3 * size // batch_size + 1
    order = np.concatenate(
        [batch_positions(s, batch_size=batch_size, size=size, seed=seed) for s in range(steps)]
    )
    for epoch in range(len(order) // size):
        assert sorted(order[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_order_depends_on_epoch_and_seed():
    def order(epoch, seed):
        return batch_positions(epoch, batch_size=30, size=30, seed=seed).tolist()

    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)
    assert order(1, 0) != order(0, 1)


def test_order_is_unchanged():
    assert batch_positions(2, batch_size=4, size=7, seed=0).tolist() == [4, 2, 1, 6]


def test_start_step_continues_the_sequence(view):
    whole = list(training_loader(view, batch_size=8, steps=9, seed=2))
    assert len(whole) == 9
    assert_equal(whole[5:], list(training_loader(view, batch_size=8, steps=9, start_step=5, seed=2)))


def test_ranks_together_are_the_global_batch(view):
    whole = list(training_loader(view, batch_size=8, steps=5, seed=2))
    ranks = [
        list(training_loader(view, batch_size=8, steps=5, seed=2, rank=rank, world_size=2)) for rank in (0, 1)
    ]
    joined = [{name: torch.cat([a[name], b[name]]) for name in a} for a, b in zip(*ranks, strict=True)]
    assert_equal(whole, joined)


def test_batches_do_not_depend_on_workers(view):
    alone = list(training_loader(view, batch_size=8, steps=4, seed=2))
    assert_equal(alone, list(training_loader(view, batch_size=8, steps=4, seed=2, workers=2)))


def test_global_random_state_is_unchanged(view):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(training_loader(view, batch_size=4, steps=2, seed=2))
    assert torch.equal(before, torch.get_rng_state())


def test_a_split_smaller_than_the_batch(view):
    (batch,) = training_loader(view, batch_size=2 * len(view) + 3, steps=1, seed=0)
    counts = np.unique(batch["index"].numpy(), return_counts=True)[1]
    assert len(counts) == len(view)
    assert set(counts) == {2, 3}


def test_batch_size_must_be_divisible_by_processes(view):
    with pytest.raises(ValueError, match=r"got 10 for 4\. Use 12"):
        training_loader(view, batch_size=10, steps=1, seed=0, world_size=4)


def test_augmentation_is_a_function_of_seed_step_and_position(domain, view):
    again = TrainingView(domain, image_size=16, seed=1)
    other_seed = TrainingView(domain, image_size=16, seed=2)
    assert torch.equal(view[3, 7]["image"], again[3, 7]["image"])
    for other in (view[3, 8], other_seed[3, 7]):
        assert not torch.equal(view[3, 7]["image"], other["image"])


@pytest.mark.parametrize("split", ["train", "val", "test", "all"])
def test_evaluation_goes_through_the_split_in_order(domain, split):
    view = EvaluationView(domain, split, image_size=16)
    items = [view[i] for i in range(len(view))]
    assert [int(item["index"]) for item in items] == domain.indices(split).tolist()
    assert [int(item["label"]) for item in items] == domain.labels[domain.indices(split)].tolist()
    item = items[0]
    assert (item["image"].shape, item["image"].dtype) == ((3, 16, 16), torch.float32)
    assert (item["mask"].shape, item["mask"].dtype) == ((1, 16, 16), torch.float32)
    assert item["label"].dtype == item["index"].dtype == torch.int64
    with pytest.raises(IndexError):
        view[len(view)]


def test_random_subsets_are_reproducible_and_nested(domain):
    view = EvaluationView(domain, "all", image_size=16)
    few, more = view.drawn(5), view.drawn(12)
    assert len(few) == 5
    assert few.indices.tolist() == sorted(view.drawn(5).indices.tolist())
    assert set(few.indices) < set(more.indices) < set(view.indices)
    assert few.indices.tolist() != view.drawn(5, seed=1).indices.tolist()
    assert torch.equal(few[2]["image"], view[list(view.indices).index(few.indices[2])]["image"])
    assert view.drawn(10**6).indices.tolist() == view.indices.tolist()


def test_a_damaged_image_in_a_loading_process_is_one_line(make_tree):
    root = make_tree(["indoor"], ["cat", "dog"])
    domain = open_dataset(DataConfig(name="folder", dir=str(root)))["indoor"]
    for path in root.glob("indoor/*/*.jpg"):
        path.write_bytes(b"no image")
    loader = training_loader(
        TrainingView(domain, image_size=16, seed=0), batch_size=2, steps=1, seed=0, workers=1
    )
    with pytest.raises(UnreadableImageError) as caught:
        list(loader)
    assert re.fullmatch(r"\S*indoor/\w+/\d+\.jpg: cannot identify image file '\S+'", message_of(caught.value))
