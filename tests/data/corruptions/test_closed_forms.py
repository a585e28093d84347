"""Corruptions that have a formula, against it."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import affine, pil_to_tensor, resize, to_pil_image

from egat_hub.data.corruptions import CORRUPTIONS, SEVERITIES
from tests.data.corruptions.pictures import draws, photolike


def corrupt(name, images, severity):
    return CORRUPTIONS[name](images, severity, draws(images))


def levels(*values):
    """A test for every severity, with its published level."""
    return pytest.mark.parametrize(("severity", "level"), list(enumerate(values, start=1)))


def dot(size=224, value=0.9):
    """A white pixel in the middle of black."""
    image = torch.zeros(1, 3, size, size)
    image[..., size // 2, size // 2] = value
    return image


def spread(image):
    """Rows and columns of the pixels from the middle, and the share of light on them."""
    place = torch.arange(image.shape[-1]) - image.shape[-1] // 2
    weight = image[0, 0] / image[0, 0].sum()
    return place[:, None].float(), place[None].float(), weight


@levels(0.08, 0.12, 0.18, 0.26, 0.38)
def test_gaussian_noise_standard_deviation(severity, level):
    noise = corrupt("gaussian_noise", torch.full((4, 3, 64, 64), 0.5), severity) - 0.5
    clipped = noise.abs() == 0.5
    assert clipped.float().mean().item() == pytest.approx(math.erfc(0.5 / level / 2**0.5), abs=0.005)
    inner = noise.abs() < 0.5 * level  # of the normal distribution
    assert inner.float().mean().item() == pytest.approx(math.erf(0.5 / 2**0.5), abs=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert (noise[:, 0] * noise[:, 1]).mean().abs() < 0.01 * level


@levels(60, 25, 12, 5, 3)
def test_shot_noise_is_poisson(severity, level):
    value = 0.3
    noisy = corrupt("shot_noise", torch.full((8, 3, 64, 64), value), severity)
    counts = noisy * level
    torch.testing.assert_close(counts, counts.round(), atol=1e-4, rtol=0)
    mean = value * level
    for count in range(level):  # what is more is clipped
        probability = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
        assert (counts.round() == count).float().mean().item() == pytest.approx(probability, abs=0.005)


@levels(0.03, 0.06, 0.09, 0.17, 0.27)
def test_impulse_noise_is_salt_and_pepper(severity, level):
    noisy = corrupt("impulse_noise", torch.full((4, 3, 64, 64), 0.4), severity)
    for value in (0, 1):
        assert (noisy == value).float().mean().item() == pytest.approx(level / 2, abs=0.005)
    assert (noisy == 0.4).float().mean().item() == pytest.approx(1 - level, abs=0.01)
    both = ((noisy[:, 0] == 1) & (noisy[:, 1] == 1)).float().mean().item()
    assert both == pytest.approx(level**2 / 4, abs=0.005)


@levels(0.4, 0.3, 0.2, 0.1, 0.05)
def test_contrast_is_about_the_mean_of_a_channel(severity, level):
    images = photolike(2, 24, 40)
    for image, corrupted in zip(images.numpy(), corrupt("contrast", images, severity).numpy(), strict=True):
        for before, after in zip(image, corrupted, strict=True):
            assert after == pytest.approx((before - before.mean()) * level + before.mean(), abs=1e-6)


@levels(0.1, 0.2, 0.3, 0.4, 0.5)
def test_brightness_adds_to_the_value_of_hsv(severity, level):
    images = photolike(1, 16, 16).clone()
    images[..., 0, 0] = 0
    brighter = corrupt("brightness", images, severity)
    for pixel, after in zip(images[0].flatten(1).T.tolist(), brighter[0].flatten(1).T.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        assert after == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, min(value + level, 1)), abs=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (96, 96), (224, 96)])
@levels(0.6, 0.5, 0.4, 0.3, 0.25)
def test_pixelate_equals_box_resizing(size, severity, level):
    image = (photolike(1, *size)[0] * 255).round().byte()
    small = resize(to_pil_image(image), [int(side * level) for side in size], InterpolationMode.BOX)
    expected = pil_to_tensor(resize(small, list(size), InterpolationMode.BOX))
    ours = corrupt("pixelate", image[None] / 255, severity)[0]
    torch.testing.assert_close(ours * 255, expected.float(), atol=1.01, rtol=0)  # it rounds twice


@pytest.mark.parametrize("size", [(32, 32), (50, 77)])
@levels(25, 18, 15, 10, 7)
def test_jpeg_compression_equals_pillow(size, severity, level, tmp_path):
    image = (photolike(1, *size)[0] * 255).round().byte()
    to_pil_image(image).save(tmp_path / "image.jpg", quality=level)
    with Image.open(tmp_path / "image.jpg") as file:
        expected = pil_to_tensor(file).float() / 255
    assert torch.equal(corrupt("jpeg_compression", image[None] / 255, severity)[0], expected)


@levels((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
def test_defocus_blur_of_a_point_is_a_disk(severity, level):
    radius, softness = level
    image = corrupt("defocus_blur", dot(), severity)
    y, x, weight = spread(image)
    assert image.sum().item() == pytest.approx(dot().sum().item(), rel=1e-4)
    for place in (x, y):
        assert (weight * place).sum().item() == pytest.approx(0, abs=1e-3)
        blurred = radius**2 / 4 + softness**2  # variance of a disk, and of the Gaussian on top
        assert (weight * place**2).sum().item() == pytest.approx(blurred, abs=0.25)  # and of pixels, 1/6
    distance = y.hypot(x)
    assert weight[distance > radius + 2 + 3 * softness].abs().max() < 1e-6
    inside = weight[distance < max(radius - 2 - softness, 0.5)]
    torch.testing.assert_close(inside, torch.full_like(inside, 1 / (math.pi * radius**2)), rtol=0.1, atol=0)


@levels((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
def test_motion_blur_of_a_point_is_a_fading_line(severity, level):
    radius, sigma = level
    image = dot().expand(6, -1, -1, -1)
    angles = []
    for blurred in corrupt("motion_blur", image, severity):
        y, x, weight = spread(blurred[None])
        centre = torch.stack([(weight * place).sum() for place in (y, x)])
        angles.append(math.degrees(math.atan2(-centre[0], centre[1])))
        steps = torch.linspace(0, 2 * radius, 1000)
        fading = torch.exp(-0.5 * (steps / sigma) ** 2)
        assert centre.norm().item() == pytest.approx(
            (steps * fading).sum().item() / fading.sum().item(), abs=0.2
        )
        across = (y * centre[1] - x * centre[0]) / centre.norm()
        assert (weight * across**2).sum() < 0.5
        assert weight[across.abs() > 1.5].max() < 1e-6
    assert all(-45 <= angle <= 45 for angle in angles)
    assert max(angles) - min(angles) > 20


@levels((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
def test_zoom_blur_is_a_mean_of_zooms(severity, level):
    images = photolike(2, 41, 57)
    bilinear = {"interpolation": InterpolationMode.BILINEAR}
    layers = [affine(images, 0, [0, 0], zoom, [0.0], **bilinear) for zoom in np.arange(1, *level).tolist()]
    expected = torch.stack([images, *layers]).mean(0)
    torch.testing.assert_close(corrupt("zoom_blur", images, severity), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("severity", "deviation"), [(3, 0.81), (4, 1.14), (5, 1.95)])
def test_elastic_displacement_standard_deviation(severity, deviation):
    """Uniform noise of deviation 1/sqrt(3), smoothed and multiplied, on top of an affine map."""
    rows, columns = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    images = torch.stack([rows, columns, rows])[None].expand(4, -1, -1, -1) / 223
    moved = (223 * corrupt("elastic_transform", images, severity))[:, :2, 24:-24, 24:-24].flatten(2)
    plane = torch.stack([rows, columns, torch.ones_like(rows)])[:, 24:-24, 24:-24].flatten(1).T.double()
    affine_maps = [torch.linalg.lstsq(plane, there.T.double()).solution for there in moved]
    left = [there.T - plane @ fitted for there, fitted in zip(moved, affine_maps, strict=True)]
    assert torch.stack(left).std().item() == pytest.approx(deviation, rel=0.05)
    for fitted in affine_maps:
        turned = (fitted[:2] - torch.eye(2)).abs().max()
        assert 0.005 < turned < 2 * 4.88 / 148  # corners that are 148 pixels apart move by up to 4.88


def test_fog_preserves_maximum_and_black():
    images = 0.8 * photolike(3, 64, 64)
    for severity in SEVERITIES:
        foggy = corrupt("fog", images, severity)
        assert (foggy.amax((1, 2, 3)) <= images.amax((1, 2, 3)) + 1e-6).all()
    assert not corrupt("fog", torch.zeros(1, 3, 32, 32), 5).any()


def test_snow_on_black_images():
    """Flakes are longer from top to bottom than from side to side, and there are some at every severity."""
    for severity in SEVERITIES:
        flakes = corrupt("snow", torch.zeros(8, 3, 128, 128), severity)
        down = (flakes[..., 4:, :] - flakes[..., :-4, :]).abs().mean()
        aside = (flakes[..., 4:] - flakes[..., :-4]).abs().mean()
        assert 0 < down < aside
        assert flakes.std() > 0.02


def test_frost_colour_varies_between_images():
    ice = corrupt("frost", torch.zeros(6, 3, 112, 112), 5)
    red, green, blue = ice.mean((0, 2, 3)).tolist()
    assert 0.3 < red < green < blue < 0.7
    for i in range(6):
        for j in range(i):
            assert (ice[i] - ice[j]).abs().mean() > 0.02
