"""The paired bootstrap against what statistics says of it."""

from __future__ import annotations

import numpy as np
import pytest

from egat_hub.metrics import paired_bootstrap


def test_interval_approaches_the_normal_interval():
    chance = np.random.default_rng(0)
    first, second = chance.normal(1.0, 1.0, 4000), chance.normal(0.5, 2.0, 4000)
    found = paired_bootstrap(first, second)
    error = (first - second).std() / np.sqrt(4000)
    assert found.mean == pytest.approx((first - second).mean())
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.05 * error * 2)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.05 * error * 2)


def test_pairing_removes_shared_variance():
    shared = np.random.default_rng(0).normal(0, 10, 200)
    found = paired_bootstrap(shared + 1, shared)
    assert found == pytest.approx((1, 1, 1))


def test_interval_has_nominal_coverage():
    chance, covered = np.random.default_rng(0), 0
    for _ in range(200):
        first, second = chance.random(300) < 0.7, chance.random(300) < 0.6
        low, high = paired_bootstrap(first, second, resamples=1000)[1:]
        covered += low <= 0.1 <= high
    assert 0.9 <= covered / 200 <= 0.99


def test_images_without_a_value_are_left_out():
    found = paired_bootstrap([1.0, np.nan, 3.0], [0.0, 5.0, 2.0])
    assert found.mean == 1.0


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random((2, 50))
    assert paired_bootstrap(*values) == paired_bootstrap(*values)
    assert paired_bootstrap(*values) != paired_bootstrap(*values, seed=1)


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0, 2.0]), ([], []), ([np.nan], [1.0])])
def test_invalid_comparisons_raise(first, second):
    with pytest.raises(ValueError, match=r"same images|no image"):
        paired_bootstrap(first, second)
