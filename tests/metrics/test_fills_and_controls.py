"""What shows through removed pixels, and maps that know nothing of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from egat_hub.core.randomness import SampleRandom
from egat_hub.metrics import CONTROLS, FILLS
from tests.helpers.training import network

INDEX = (7, 1, 30)
RANDOM = SampleRandom(3, INDEX)


def images_of(count=3, side=16):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def maps_of(grid=(4, 5)):
    return torch.rand(3, *grid, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", sorted(FILLS))
def test_fills_are_images(name):
    model, images = network(), images_of()
    before = images.clone()
    filled = FILLS[name](model, images, SampleRandom(3, INDEX))
    assert (filled.shape, filled.dtype) == (images.shape, images.dtype)
    assert filled.min() >= 0
    assert filled.max() <= 1
    assert torch.equal(images, before)
    for n, index in enumerate(INDEX):
        alone = FILLS[name](model, images[n : n + 1], SampleRandom(3, (index,)))
        torch.testing.assert_close(alone[0], filled[n])


def test_mean_fill_is_zero_after_normalisation():
    model, seen = network(), []
    model.net.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(FILLS["mean"](model, images_of(), RANDOM))
    assert seen[0].abs().max() < 1e-6


def test_black_is_black():
    assert not FILLS["black"](network(), images_of(), RANDOM).any()


def test_noise_is_uniform_and_depends_on_the_seed():
    images = torch.zeros(3, 3, 40, 40)
    noise = FILLS["noise"](network(), images, RANDOM)
    assert not torch.equal(noise, FILLS["noise"](network(), images, SampleRandom(4, INDEX)))
    assert not torch.equal(noise[0], noise[1])
    assert ((noise.mean((2, 3)) - 0.5).abs() < 0.03).all()
    assert ((noise.var((2, 3)) - 1 / 12).abs() < 0.02).all()


def test_blur_is_a_gaussian_of_sigma_5_within_11_pixels():
    image = images_of(1)
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 5.0**2))
    weights /= weights.sum()
    padded = np.pad(image[0].numpy(), ((0, 0), (5, 5), (5, 5)), mode="reflect")
    rows = sum(w * padded[:, k : k + 16] for k, w in enumerate(weights))
    both = sum(w * rows[:, :, k : k + 16] for k, w in enumerate(weights))
    np.testing.assert_allclose(
        FILLS["blur"](network(), image, SampleRandom(3, (7,)))[0].numpy(), both, atol=1e-5
    )


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_controls_depend_on_image_index_and_shape_only(name):
    maps = maps_of()
    control = CONTROLS[name](maps, SampleRandom(3, INDEX))
    assert (control.shape, control.dtype) == (maps.shape, maps.dtype)
    assert torch.equal(CONTROLS[name](torch.zeros_like(maps), SampleRandom(3, INDEX)), control)
    order = [2, 0, 1]
    shuffled = SampleRandom(3, tuple(INDEX[i] for i in order))
    assert torch.equal(CONTROLS[name](maps[order], shuffled), control[order])
    for n, index in enumerate(INDEX):
        assert torch.equal(CONTROLS[name](maps[n : n + 1], SampleRandom(3, (index,)))[0], control[n])


def test_random_maps_differ_by_image_and_seed_and_are_uniform():
    maps = torch.zeros(3, 40, 40)
    control = CONTROLS["random"](maps, SampleRandom(3, INDEX))
    assert not torch.equal(control[0], control[1])
    assert not torch.equal(control, CONTROLS["random"](maps, SampleRandom(4, INDEX)))
    assert control.min() >= 0
    assert control.max() < 1
    assert abs(control.mean() - 0.5) < 0.02
    assert abs(control.var() - 1 / 12) < 0.01


@pytest.mark.parametrize("side", [4, 7])
def test_centre_is_highest_in_the_middle_and_symmetric(side):
    bump = CONTROLS["centre"](torch.zeros(2, side, side), SampleRandom(0, (0, 1)))[0]
    for other in (bump.flip(0), bump.flip(1), bump.T):
        torch.testing.assert_close(bump, other)
    assert bump[side // 2, side // 2] == bump.max()
    assert bump[0, 0] == bump.min()
    if side == 7:  # an odd side: the deviation is a quarter of the distance between the outer positions
        torch.testing.assert_close(bump[3, 0] / bump[3, 3], torch.tensor(np.exp(-2.0)).float())
