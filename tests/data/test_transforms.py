"""Evaluation transforms equal timm's; training transforms apply to image and mask alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from egat_hub.data.transforms import TrainingTransform, apply, evaluation_transform
from tests.data.conftest import picture


@pytest.mark.parametrize("size", [(24, 20), (300, 200), (31, 97), (64, 64), (1, 5)])
@pytest.mark.parametrize("image_size", [32, 64])
def test_evaluation_transform_equals_timm(size, image_size):
    image = picture(0, size)
    timm = create_transform(
        input_size=(3, image_size, image_size),
        is_training=False,
        interpolation="bilinear",
        crop_pct=1.0,
        crop_mode="squash",
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    ours, _ = apply(evaluation_transform(image_size), image, None)
    assert torch.equal(ours, timm(image))


@pytest.mark.parametrize("make", [TrainingTransform, evaluation_transform])
def test_shapes_and_ranges(make):
    mask = Image.fromarray(np.tile(np.uint8([0, 255]), (20, 12)))
    image, moved = apply(make(16), picture(1), mask)
    assert (image.shape, image.dtype) == ((3, 16, 16), torch.float32)
    assert (moved.shape, moved.dtype) == ((1, 16, 16), torch.float32)
    assert type(moved) is torch.Tensor
    assert image.min() >= 0
    assert image.max() <= 1
    assert set(moved.unique().tolist()) <= {0.0, 1.0}
    without, none = apply(make(16), picture(1), None)
    assert without.shape == image.shape
    assert none is None


def test_the_mask_moves_with_its_image():
    pixels = np.zeros((40, 60), np.uint8)
    pixels[8:22, 5:30] = 255
    mask = Image.fromarray(pixels)
    for seed in range(20):
        torch.manual_seed(seed)
        image, moved = apply(TrainingTransform(48), mask.convert("RGB"), mask)
        bright = image.mean(0) > image.mean(0).max() / 2
        assert (bright != (moved[0] > 0.5)).float().mean() < 0.06


def test_augmentation_does_not_depend_on_the_mask():
    mask = Image.new("L", (24, 20), 255)
    torch.manual_seed(3)
    without, _ = apply(TrainingTransform(16), picture(2), None)
    torch.manual_seed(3)
    with_mask, _ = apply(TrainingTransform(16), picture(2), mask)
    assert torch.equal(without, with_mask)
