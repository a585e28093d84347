"""Attacked images rounded to 8 bits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egat_hub.attacks import to_eight_bits
from egat_hub.attacks.base import project


@given(st.floats(0, 0.2), st.integers(0, 2**16), st.booleans())
def test_8_bit_images_stay_in_the_ball(epsilon, seed, stored):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, 4, 4, generator=generator)
    images = (images * 255).round() / 255 if stored else images
    noise = epsilon * (2 * torch.rand(images.shape, generator=generator) - 1)
    rounded = to_eight_bits(project(images + noise, images, epsilon), images, epsilon)
    levels = rounded * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert rounded.min() >= 0
    assert rounded.max() <= 1
    if stored:
        assert ((rounded - images).abs() <= epsilon + 1e-5).all()
        assert torch.equal(to_eight_bits(images, images, epsilon), images)


@pytest.mark.parametrize("epsilon", [0.0, 1 / 255, 8 / 255])
def test_bounds_that_are_8_bit_levels_are_kept(epsilon):
    images = torch.full((1, 3, 2, 2), 100 / 255)
    assert torch.allclose(to_eight_bits(images + epsilon, images, epsilon), images + epsilon, atol=1e-6)


def test_a_ball_without_a_level_gives_the_nearest_one():
    images = torch.full((1, 3, 2, 2), 100.5 / 255)
    rounded = to_eight_bits(images + 0.001, images, 0.001)
    assert ((rounded - images).abs() <= 0.5001 / 255).all()
