"""Agreement of maps: what every measure promises, and what each of them computes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from egat_hub.explanations.similarity import STABILITY

SIZE = (12, 12)
EACH = pytest.mark.parametrize("name", sorted(STABILITY))


def maps_of(seed, count=3, grid=(4, 4)):
    return torch.rand(count, *grid, generator=torch.Generator().manual_seed(seed))


@EACH
@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_measures_are_symmetric_bounded_and_scale_invariant(name, seed):
    first, second = maps_of(seed) - 0.2, maps_of(seed + 5000) - 0.2
    agreement = STABILITY[name](first, second, SIZE)
    assert agreement.shape == (3,)
    assert agreement.min() >= -1
    assert agreement.max() <= 1 + 1e-6
    torch.testing.assert_close(STABILITY[name](second, first, SIZE), agreement)
    torch.testing.assert_close(STABILITY[name](4 * first, second / 2, SIZE), agreement)  # exact in floats
    for n in range(3):
        alone = STABILITY[name](first[n : n + 1], second[n : n + 1], SIZE)
        torch.testing.assert_close(alone[0], agreement[n])


@EACH
def test_identical_maps_have_similarity_1(name):
    maps = maps_of(0)
    torch.testing.assert_close(STABILITY[name](maps, maps.clone(), SIZE), torch.ones(3))


@EACH
def test_similarity_falls_with_distance(name):
    columns = torch.zeros(3, 4, 4)
    columns[0, :, 0], columns[1, :, :2], columns[2, :, 3] = 1, 1, 1
    near, far = (STABILITY[name](columns[:1], columns[n : n + 1], (16, 16)).item() for n in (1, 2))
    assert far < near < 1
    assert far < 0.6


@EACH
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1e-30, 1e30, 0.1])
@pytest.mark.parametrize("size", [(12, 12), (4, 7)])
def test_constant_maps_have_finite_similarity(name, value, size):
    flat = torch.full((3, 4, 4), value)
    for other in (flat, torch.zeros_like(flat), maps_of(0), -maps_of(0)):
        for pair in ((flat, other), (other, flat)):
            agreement = STABILITY[name](*pair, size)
            assert agreement.isfinite().all()
            assert agreement.max() <= 1 + 1e-6


def test_overlap_counts_common_pixels():
    first, second = torch.zeros(2, 1, 5, 4)
    first[0, 0] = torch.tensor([4.0, 3, 2, 1])
    second[0, 0] = torch.tensor([0.0, 0, 2, 1])
    second[0, 3, :2] = 1.5
    overlap = STABILITY["topk_overlap"](first, second, (5, 4))  # 4 of 20 pixels
    torch.testing.assert_close(overlap, torch.tensor([0.5]))


def test_cosine_similarity_by_hand():
    first, second = torch.zeros(2, 1, 2, 2)
    first[0, 0, 0], second[0, 0] = 2.0, 1.0
    torch.testing.assert_close(STABILITY["cosine"](first, second, SIZE), torch.tensor([0.5**0.5]))


def average_ranks(values):
    """As textbooks say: the mean of the places that equal values would take."""
    ordered = sorted(values)
    places = {v: [i for i, other in enumerate(ordered, start=1) if other == v] for v in values}
    return [sum(places[v]) / len(places[v]) for v in values]


def test_spearman_is_the_correlation_of_average_ranks():
    chance = torch.Generator().manual_seed(2)
    first, second = torch.randint(-3, 4, (2, 6, 5, 7), generator=chance).float()  # many ties
    expected = []
    for maps in zip(first, second, strict=True):
        a, b = (torch.tensor(average_ranks(m.flatten().tolist()), dtype=torch.float64) for m in maps)
        expected.append(torch.corrcoef(torch.stack([a, b]))[0, 1])
    found = STABILITY["spearman"](first, second, SIZE)
    torch.testing.assert_close(found.double(), torch.stack(expected), atol=1e-6, rtol=0)
    torch.testing.assert_close(STABILITY["spearman"](first, -first, SIZE), -torch.ones(6))
    assert STABILITY["spearman"](first, torch.full_like(first, 0.1), SIZE).eq(0).all()


def looped_ssim(a, b):
    """Of two images, window by window."""
    distance = torch.arange(11, dtype=torch.float64) - 5
    weights = torch.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2))
    weights /= weights.sum()
    scores = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            one, two = (image[y : y + 11, x : x + 11].double() for image in (a, b))
            m1, m2 = (weights * one).sum(), (weights * two).sum()
            v1, v2 = (weights * (one - m1) ** 2).sum(), (weights * (two - m2) ** 2).sum()
            joint = (weights * (one - m1) * (two - m2)).sum()
            same = (2 * m1 * m2 + 1e-4) * (2 * joint + 9e-4)
            scores.append(same / ((m1**2 + m2**2 + 1e-4) * (v1 + v2 + 9e-4)))
    return torch.stack(scores).mean()


def test_ssim_equals_a_loop_over_windows():
    first, second = maps_of(1) - 0.3, maps_of(2) - 0.3
    expected = []
    for pair in zip(first, second, strict=True):
        shown = [F.interpolate(m.relu()[None, None], (20, 17), mode="bilinear")[0, 0] for m in pair]
        expected.append(looped_ssim(*(image / image.max() for image in shown)))
    found = STABILITY["ssim"](first, second, (20, 17))
    torch.testing.assert_close(found.double(), torch.stack(expected), atol=1e-5, rtol=0)
    assert found.max() < 0.9


def test_the_centre_of_mass_moves_by_pixels_of_the_image():
    first, second = torch.zeros(2, 1, 3, 4)
    first[0, 0, 0] = 5.0
    second[0, 2, 1:3] = 1.0
    second[0, 1] = -9.0  # no mass
    down, right = 60 * 2 / 3, 80 * 1.5 / 4
    found = STABILITY["centre_of_mass"](first, second, (60, 80))
    torch.testing.assert_close(found, torch.tensor([1 - math.hypot(down, right) / 100]))
    nothing = STABILITY["centre_of_mass"](first, torch.zeros(1, 3, 4), (60, 80))
    torch.testing.assert_close(nothing, torch.tensor([1 - math.hypot(20, 30) / 100]))
