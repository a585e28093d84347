"""Agreement of maps: what every measure promises, and what the two of them compute."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from egat_hub.metrics import STABILITY

SIZE = (12, 12)
EACH = pytest.mark.parametrize("name", sorted(STABILITY))


def maps_of(seed, count=3, grid=(4, 4)):
    return torch.rand(count, *grid, generator=torch.Generator().manual_seed(seed))


@EACH
@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_every_measure_is_symmetric_in_0_1_and_blind_to_scale(name, seed):
    first, second = maps_of(seed), maps_of(seed + 5000)
    agreement = STABILITY[name](first, second, SIZE)
    assert agreement.shape == (3,)
    assert agreement.min() >= 0
    assert agreement.max() <= 1 + 1e-6
    torch.testing.assert_close(STABILITY[name](second, first, SIZE), agreement)
    torch.testing.assert_close(STABILITY[name](4 * first, second / 2, SIZE), agreement)  # exact in floats
    for n in range(3):
        alone = STABILITY[name](first[n : n + 1], second[n : n + 1], SIZE)
        torch.testing.assert_close(alone[0], agreement[n])


@EACH
def test_identical_maps_agree_fully(name):
    maps = maps_of(0)
    torch.testing.assert_close(STABILITY[name](maps, maps.clone(), SIZE), torch.ones(3))


@EACH
def test_disjoint_maps_do_not_agree(name):
    first, second = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    first[:, :, 0], second[:, :, 3] = 1, 1
    assert STABILITY[name](first, second, (4, 4)) == 0


def test_overlap_counts_common_pixels():
    first, second = torch.zeros(2, 1, 5, 4)
    first[0, 0] = torch.tensor([4.0, 3, 2, 1])
    second[0, 0] = torch.tensor([0.0, 0, 2, 1])
    second[0, 3, :2] = 1.5
    overlap = STABILITY["topk_overlap"](first, second, (5, 4))  # 4 of 20 pixels
    torch.testing.assert_close(overlap, torch.tensor([0.5]))


def test_cosine_is_the_angle_between_the_maps():
    first, second = torch.zeros(2, 1, 2, 2)
    first[0, 0, 0], second[0, 0] = 2.0, 1.0
    torch.testing.assert_close(STABILITY["cosine"](first, second, SIZE), torch.tensor([0.5**0.5]))
