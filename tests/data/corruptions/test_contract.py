"""The contract of all registered corruptions."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.data.corruptions import CORRUPTIONS, IMAGENET_C, SEVERITIES, families
from tests.data.corruptions.pictures import draws, photolike

STILL = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
"""Deterministic corruptions."""
PLAIN = {
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "contrast",
    "elastic_transform",
    "pixelate",
}
"""Corruptions that do not change a constant image."""
SCALED = {"defocus_blur", "motion_blur", "zoom_blur", "snow", "frost", "fog", "elastic_transform"}
"""Corruptions that look alike at any size; those of contrast and brightness have no size at all."""


@pytest.fixture(params=sorted(CORRUPTIONS))
def name(request):
    return request.param


@pytest.fixture
def corruption(name):
    return CORRUPTIONS[name]


def distance(a, b):
    return (a - b).abs().mean().item()


def test_all_expands_to_imagenet_c():
    assert set(IMAGENET_C) <= set(CORRUPTIONS)
    assert len(set(IMAGENET_C)) == 15
    assert families(["all"]) == IMAGENET_C
    assert families(["fog", "snow", "fog"]) == ("fog", "snow")
    with pytest.raises(KeyError, match=r"No 'fgo' among corruptions\. Did you mean 'fog'"):
        families(["fgo"])


@pytest.mark.parametrize("size", [(32, 32), (224, 224), (48, 80), (67, 33)])
def test_output_is_an_image_batch(corruption, size):
    images = photolike(2, *size)
    before = images.clone()
    corrupted = corruption(images, 5, draws(images))
    assert corrupted.shape == images.shape
    assert corrupted.dtype == images.dtype
    assert corrupted.min() >= 0  # false for NaN, too
    assert corrupted.max() <= 1
    assert distance(corrupted, images) > 1e-3
    assert torch.equal(images, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtype_is_preserved(corruption, dtype):
    images = photolike(2, 32, 32)
    expected = corruption(images.to(dtype).float(), 3, draws(images))
    corrupted = corruption(images.to(dtype), 3, draws(images))
    assert corrupted.dtype == dtype
    torch.testing.assert_close(corrupted.float(), expected, atol=4e-3, rtol=0)


@pytest.mark.parametrize("severity", [1, 4])
def test_corruption_does_not_depend_on_the_batch(corruption, severity):
    images = photolike(5, 48, 40)
    random = SampleRandom(7, (11, 3, 20, 5, 8))
    whole = corruption(images, severity, random)
    for chosen in ([2], [4, 0, 3]):
        part = corruption(images[chosen], severity, SampleRandom(7, tuple(random.index[i] for i in chosen)))
        torch.testing.assert_close(part, whole[chosen], atol=1e-5, rtol=0)
    memory = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(corruption(memory, severity, random), whole, atol=1e-5, rtol=0)


def test_random_numbers_depend_on_seed_and_index(corruption, name):
    images = photolike(1, 48, 48).expand(3, -1, -1, -1)
    state = torch.get_rng_state()
    corrupted = corruption(images, 3, SampleRandom(0, (1, 2, 1)))
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(corrupted[0], corrupted[2], atol=1e-5, rtol=0)
    assert torch.equal(corrupted, corruption(images, 3, SampleRandom(0, (1, 2, 1))))
    other = corruption(images, 3, SampleRandom(1, (1, 2, 1)))
    for one, two in ((corrupted[0], corrupted[1]), (corrupted[0], other[0])):
        assert (distance(one, two) > 1e-3) == (name not in STILL)


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5, None])
def test_other_severities_are_rejected(corruption, severity):
    images = photolike(2, 32, 32)
    with pytest.raises(ValueError, match="severity from 1 to 5"):
        corruption(images, severity, draws(images))


@pytest.mark.parametrize("size", [64, 128])
def test_distance_grows_with_severity(corruption, name, size):
    """By the published levels it need not: see the allowance for each step, and for elastic warping.

    Frost at severity 4 brightens less than at 3, and snow at 3 has fewer flakes than at 2. Elastic warping is
    of one kind at severities 1 and 2, and of another that moves less from 3 on.
    """
    images = photolike(8, size, size)
    distances = [distance(corruption(images, severity, draws(images)), images) for severity in SEVERITIES]
    runs = [distances[:2], distances[2:]] if name == "elastic_transform" else [distances]
    for run in runs:
        assert run[-1] > run[0]
        for weaker, stronger in itertools.pairwise(run):
            assert stronger > 0.92 * weaker


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_images(corruption, name, value):
    images = torch.full((2, 3, 40, 40), value)
    for severity in (1, 5):
        corrupted = corruption(images, severity, draws(images))
        assert corrupted.min() >= 0
        assert corrupted.max() <= 1
        if name in PLAIN:
            torch.testing.assert_close(corrupted, images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", sorted(SCALED))
def test_lengths_scale_with_image_size(name):
    large = F.interpolate(photolike(3, 56, 56), (224, 224), mode="bicubic", antialias=True).clamp(0, 1)
    corrupted = CORRUPTIONS[name](large, 3, draws(large))
    for size in (112, 336):
        resized, shown = (
            F.interpolate(images, (size, size), mode="bilinear", antialias=True)
            for images in (large, corrupted)
        )
        again = CORRUPTIONS[name](resized, 3, draws(resized))
        assert distance(again, shown) < 0.2 * distance(again, resized)


def test_an_empty_batch_stays_empty(corruption):
    assert corruption(torch.zeros(0, 3, 32, 32), 3, SampleRandom(0, ())).shape == (0, 3, 32, 32)


def test_output_has_no_gradient(corruption):
    images = photolike(1, 32, 32).clone().requires_grad_()
    assert not corruption(images, 3, draws(images)).requires_grad
