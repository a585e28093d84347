"""The split is 60/20/20 by class and depends on names only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egat_hub.data.domains import stratified_split

counts = st.lists(st.integers(3, 40), min_size=2, max_size=5)


def named(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return [f"{label}/{n}.jpg" for n, label in enumerate(labels)], labels


def split(keys, labels, **options):
    return stratified_split(keys, labels, classes=[str(c) for c in range(labels.max() + 1)], **options)


@given(counts, st.integers(0, 5))
def test_split_is_a_proportional_partition(counts, seed):
    keys, labels = named(counts)
    parts = split(keys, labels, seed=seed)
    joined = np.concatenate([parts["train"], parts["val"], parts["test"]])
    assert sorted(joined) == list(range(len(keys)))
    for part, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        assert np.all(np.diff(parts[part]) > 0)
        in_part = np.bincount(labels[parts[part]], minlength=len(counts))
        assert np.all(in_part >= 1)
        assert np.all(np.abs(in_part - share * np.array(counts)) <= 1)


@given(counts, st.randoms(use_true_random=False))
def test_split_does_not_depend_on_file_order(counts, random):
    keys, labels = named(counts)
    order = list(range(len(keys)))
    random.shuffle(order)
    shuffled = [keys[i] for i in order]
    parts, other = split(keys, labels), split(shuffled, labels[order])
    for part in parts:
        assert {keys[i] for i in parts[part]} == {shuffled[i] for i in other[part]}


def test_split_of_a_class_depends_on_the_seed_but_not_on_other_classes():
    keys, labels = named([30, 30])
    alone = split([*keys[:30], "x/0", "x/1", "x/2"], np.array([0] * 30 + [1] * 3))
    parts = split(keys, labels)
    assert parts["test"][parts["test"] < 30].tolist() == alone["test"][alone["test"] < 30].tolist()
    assert split(keys, labels, seed=1)["test"].tolist() != parts["test"].tolist()


def test_split_is_unchanged():
    keys, labels = named([5, 5])
    assert split(keys, labels)["test"].tolist() == [1, 5]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_error_names_too_small_class(count):
    with pytest.raises(ValueError, match=rf"'zebra' of zoo/night has {count} image"):
        stratified_split(
            ["a", "b", "c", *"xy"[:count]],
            np.array([0, 0, 0] + [1] * count),
            classes=("ape", "zebra"),
            where="zoo/night",
        )
