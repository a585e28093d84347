"""Normalisations of maps, and how they bear maps that say nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from egat_hub.explanations import NORMALIZATIONS, dead
from egat_hub.explanations.base import EPSILON

NAMES = sorted(NORMALIZATIONS)
SCALED = [name for name in NAMES if name != "none"]
SILENT = {
    "zero": torch.zeros(2, 3, 4),
    "constant": torch.full((2, 3, 4), 0.7),
    "negative constant": torch.full((2, 3, 4), -5.0),
    "almost constant": 0.5 + torch.tensor([0.0, EPSILON / 2]).repeat(2, 3, 2),
    "one position": torch.tensor([[[0.3]], [[-0.3]]]),
}


def random_maps(seed: int = 0) -> Tensor:
    return torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("maps", [*SILENT.values(), random_maps()], ids=[*SILENT, "random"])
def test_values_and_gradients_are_finite(name, maps):
    maps = maps.clone().requires_grad_()
    out = NORMALIZATIONS[name](maps)
    (gradient,) = torch.autograd.grad(out.square().sum(), maps)
    assert out.shape == maps.shape
    assert out.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("maps", SILENT.values(), ids=SILENT)
def test_minmax_of_a_constant_map_is_zero_and_passes_no_gradient(maps):
    maps = maps.clone().requires_grad_()
    out = NORMALIZATIONS["minmax"](maps)
    assert not out.any()
    (gradient,) = torch.autograd.grad(out.sum(), maps)
    assert not gradient.any()


@pytest.mark.parametrize("name", NAMES)
def test_a_zero_map_stays_zero(name):
    assert not NORMALIZATIONS[name](torch.zeros(2, 3, 4)).any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_minmax_spans_0_to_1_whatever_scale_and_shift(seed, scale, shift):
    maps = random_maps(seed).double()
    out = NORMALIZATIONS["minmax"](maps)
    assert (out.amin((1, 2)) == 0).all()
    assert (out.amax((1, 2)) == 1).all()
    assert torch.allclose(NORMALIZATIONS["minmax"](scale * maps + shift), out, atol=1e-9)
    assert torch.equal(out.flatten(1).argsort(), maps.flatten(1).argsort())


@pytest.mark.parametrize("name", SCALED)
def test_normalisation_is_scale_invariant(name):
    maps = random_maps().double()
    assert torch.allclose(NORMALIZATIONS[name](3 * maps), NORMALIZATIONS[name](maps))


def test_max_and_sum_divide_by_maximum_and_sum():
    maps = random_maps().double()
    assert torch.allclose(NORMALIZATIONS["max"](maps), maps / maps.abs().flatten(1).amax(1)[:, None, None])
    assert torch.allclose(NORMALIZATIONS["sum"](maps), maps / maps.abs().flatten(1).sum(1)[:, None, None])


def test_none_is_the_identity():
    assert torch.equal(NORMALIZATIONS["none"](random_maps()), random_maps())


@pytest.mark.parametrize("name", NAMES)
def test_maps_are_normalised_separately(name):
    maps = torch.cat([random_maps(), SILENT["constant"].mean() + torch.zeros(1, 5, 6)])
    whole = NORMALIZATIONS[name](maps)
    assert torch.equal(torch.cat([NORMALIZATIONS[name](one[None]) for one in maps]), whole)


@pytest.mark.parametrize("maps", SILENT.values(), ids=SILENT)
def test_constant_maps_are_dead(maps):
    assert dead(maps).tolist() == [True, True]


def test_dead_maps_are_detected_per_image():
    maps = random_maps()
    maps[1], maps[3] = 0, 2.5
    assert dead(maps).tolist() == [False, True, False, True]
    assert torch.equal(dead(maps), ~NORMALIZATIONS["minmax"](maps).flatten(1).any(1))
