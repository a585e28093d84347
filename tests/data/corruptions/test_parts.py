"""What corruptions are made of."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

from egat_hub.core.randomness import SampleRandom
from egat_hub.data.corruptions.canvas import canvas, convolve, fit, kernel_of, sample, smooth
from egat_hub.data.corruptions.weather import plasma


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_plasma_equals_reference_loops():
    side, decay, random = 16, 1.7, SampleRandom(3, (5,))
    wobble = random.uniform(torch.empty(1, side, side), -1, 1, "clouds")[0].tolist()
    height = [[0.0] * side for _ in range(side)]

    def put(y, x, around, amplitude):
        near = [height[(y + dy) % side][(x + dx) % side] for dy, dx in around]
        height[y][x] = sum(near) / 4 + amplitude * wobble[y][x]

    step, amplitude = side, 1.0
    while step > 1:
        half = step // 2
        diagonal = [(a, b) for a in (-half, half) for b in (-half, half)]
        straight = [(-half, 0), (half, 0), (0, -half), (0, half)]
        for y in range(half, side, step):
            for x in range(half, side, step):
                put(y, x, diagonal, amplitude)
        for y in range(0, side, half):
            for x in range(half if y % step == 0 else 0, side, step):
                put(y, x, straight, amplitude)
        step, amplitude = half, amplitude / decay**2
    expected = torch.tensor(height)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    clouds = plasma(torch.empty(1, 1, side, side), random, decay, "clouds")
    torch.testing.assert_close(clouds[0, 0], expected, atol=1e-5, rtol=0)
    cut = plasma(torch.empty(1, 1, 11, 9), random, decay, "clouds")
    assert torch.equal(cut, clouds[..., :11, :9])


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_smoothing_is_a_gaussian_blur(sigma):
    images = noise(2, 3, 40, 50)
    expected = gaussian_blur(images, [25, 25], [sigma, sigma])[..., 12:-12, 12:-12]
    torch.testing.assert_close(
        smooth(images, sigma, reach=5)[..., 12:-12, 12:-12], expected, atol=1e-4, rtol=0
    )


def test_smoothing_limits():
    images = noise(2, 1, 20, 30)
    torch.testing.assert_close(smooth(images, 0.0), images)
    torch.testing.assert_close(smooth(images, 500.0), images.mean((2, 3), keepdim=True).expand_as(images))
    torch.testing.assert_close(smooth(torch.ones(1, 1, 9, 7), 3.0), torch.ones(1, 1, 9, 7))


@pytest.mark.parametrize("edge", ["replicate", "circular"])
def test_convolution_equals_torch(edge):
    images, kernels = noise(2, 3, 17, 23), noise(2, 7, 7)
    padded = F.pad(images, [3] * 4, mode=edge)
    expected = torch.stack(
        [
            F.conv2d(image[:, None], kernel.flip(0, 1)[None, None])[:, 0]
            for image, kernel in zip(padded, kernels, strict=True)
        ]
    )
    torch.testing.assert_close(convolve(images, kernels, edge), expected, atol=1e-4, rtol=0)


def test_kernel_weights_are_bilinear():
    kernel = kernel_of(torch.tensor([[[0.0, 0.25], [-1.0, 1.0]]]), torch.tensor([3.0, 1.0]))
    expected = torch.tensor([[0, 0, 0.25], [0, 0.5625, 0.1875], [0, 0, 0]])
    torch.testing.assert_close(kernel[0], expected)
    torch.testing.assert_close(kernel_of(torch.zeros(1, 4, 2), torch.ones(4)), torch.ones(1, 1, 1))


def test_canvas_has_the_aspect_ratio_of_the_images():
    assert canvas(torch.zeros(3, 3, 32, 48)).shape == (3, 1, 224, 336)
    assert canvas(torch.zeros(1, 3, 500, 224)).shape == (1, 1, 500, 224)
    layer = noise(1, 1, 224, 336)
    assert fit(layer, torch.zeros(1, 3, 32, 48)).shape == (1, 1, 32, 48)
    assert fit(layer, torch.zeros(1, 3, 224, 336)) is layer


def test_sampling_is_bilinear():
    images = noise(2, 3, 5, 9)
    y, x = torch.tensor([[[1.0, 1.5, -3.0]]]), torch.tensor([[[7.0, 7.0, 0.0]]])
    found = sample(images, y, x, edge="border")
    torch.testing.assert_close(found[..., 0, 0], images[..., 1, 7])
    torch.testing.assert_close(found[..., 0, 1], images[..., 1:3, 7].mean(-1))
    torch.testing.assert_close(found[..., 0, 2], images[..., 0, 0])
