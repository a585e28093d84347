"""Guide maps: one channel, in [0, 1], of the images they guide."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from egat_hub.core.randomness import SampleRandom
from egat_hub.data.images import to_image
from egat_hub.explanations import GUIDES
from egat_hub.explanations.guides import add_noise


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 8, 10, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def masks() -> torch.Tensor:
    return (torch.rand(3, 1, 8, 10, generator=torch.Generator().manual_seed(1)) > 0.5).float()


@pytest.mark.parametrize("name", sorted(GUIDES))
def test_every_guide_is_a_map_in_0_to_1(name, images, masks):
    guide = GUIDES[name](images, masks)
    assert guide.shape == (3, 1, 8, 10)
    assert guide.dtype == images.dtype
    assert guide.min() >= 0
    assert guide.max() <= 1


@pytest.mark.parametrize("name", sorted(GUIDES))
def test_a_guide_follows_its_own_image_alone(name, images, masks):
    whole = GUIDES[name](images, masks)
    assert torch.equal(GUIDES[name](images[1:2], masks[1:2]), whole[1:2])


def test_grayscale_is_the_luminance_that_pillow_takes(images):
    for pixels, guide in zip(images, GUIDES["grayscale"](images, None), strict=True):
        expected = torch.from_numpy(np.array(to_image(pixels).convert("L"))) / 255
        assert (guide[0] - expected).abs().max() <= 1.5 / 255


def test_white_stays_white_and_black_black():
    assert GUIDES["grayscale"](torch.ones(1, 3, 2, 2), None).allclose(torch.ones(()))
    assert not GUIDES["grayscale"](torch.zeros(1, 3, 2, 2), None).any()


def test_mask_guides_are_the_masks(images, masks):
    assert GUIDES["mask"](images, masks) is masks


def test_mask_guides_need_masks(images):
    with pytest.raises(ValueError, match=r"needs a data set with object masks.*guide='grayscale'"):
        GUIDES["mask"](images, None)


def test_none_guide_is_one_half(images):
    assert (GUIDES["none"](images, None) == 0.5).all()


def test_noise_has_its_level_and_stays_in_range():
    random, guide = SampleRandom(0, (4, 5)), torch.full((2, 1, 64, 64), 0.5)
    noisy = add_noise(guide, 0.1, random)
    assert (noisy - guide).std().item() == pytest.approx(0.1, abs=0.01)
    loud = add_noise(guide, 3.0, random)
    assert loud.min() == 0
    assert loud.max() == 1


def test_zero_noise_is_the_identity(masks):
    assert torch.equal(add_noise(masks, 0.0, SampleRandom(0, (1, 2, 3))), masks)


def test_noise_does_not_depend_on_the_batch(masks):
    whole = add_noise(masks, 0.5, SampleRandom(0, (4, 5, 6), step=2))
    assert torch.equal(add_noise(masks[2:], 0.5, SampleRandom(0, (6,), step=2)), whole[2:])
    for other in (SampleRandom(0, (4, 5, 6), step=3), SampleRandom(1, (4, 5, 6), step=2)):
        assert not torch.equal(add_noise(masks, 0.5, other), whole)
