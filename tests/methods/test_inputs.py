"""Bad input is refused before the first step, and the message names the remedy."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from egat_hub.methods import EGAT, ERM, METHODS
from tests.helpers.methods import CLASSES, FAST, SIZE, batch, model


@pytest.fixture(params=list(METHODS))
def method(request):
    return METHODS[request.param](model())


@pytest.mark.parametrize("change", [lambda x: (x - 0.5) / 0.2, lambda x: x * 255, lambda x: x * float("nan")])
def test_images_outside_the_unit_interval_raise(method, change):
    images, labels = batch()
    with pytest.raises(ValueError, match=r"images in \[0, 1\], got .* by 255\. Do not normalize"):
        method(change(images), labels)


def test_non_integer_labels_raise(method):
    images, labels = batch()
    with pytest.raises(ValueError, match=r"Expected integer labels, got torch\.float32"):
        method(images, labels.float())


def test_too_large_labels_raise(method):
    images, labels = batch()
    with pytest.raises(ValueError, match=rf"num_classes={CLASSES}, got 7; .*number of classes"):
        method(images, labels + 5)


def test_negative_labels_raise(method):
    images, labels = batch()
    with pytest.raises(ValueError, match=r"Expected labels from 0.*got -100"):
        method(images, torch.where(labels == 2, -100, labels))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ((6, 3, SIZE, SIZE), (5,)),
        ((6, 3, SIZE, SIZE), (6, CLASSES)),
        ((3, SIZE, SIZE), (3,)),
        ((6, 1, SIZE, SIZE), (6,)),
    ],
)
def test_mismatched_shapes_raise(method, images, labels):
    with pytest.raises(ValueError, match=r"Expected images \[B,3,H,W\] and labels \[B\], got"):
        method(torch.rand(images), torch.zeros(labels, dtype=torch.long))


@pytest.mark.parametrize("shape", [(6, SIZE, SIZE), (5, 1, SIZE, SIZE), (6, 1, 24, 24), (6, 3, SIZE, SIZE)])
def test_masks_of_another_shape_raise(method, shape):
    with pytest.raises(ValueError, match=rf"Expected masks \[B,1,H,W\] .*\(6, 1, {SIZE}, {SIZE}\), got"):
        method(*batch(), mask=torch.rand(shape))


def test_missing_masks_raise():
    method = EGAT(model(), guide="mask", **FAST)
    assert method.needs_masks
    for step in (0, 5):
        with pytest.raises(ValueError, match="masks_dir"):
            method(*batch(), step=step)


@pytest.mark.parametrize("options", [{}, {"guide": "none"}, {"guide": "mask", "lambda_egl": 0.0}])
def test_masks_are_optional_without_a_mask_guide(options):
    method = EGAT(model(), **options, **FAST)
    assert not method.needs_masks
    assert method(*batch())["loss"].isfinite()


@pytest.mark.parametrize("network", [nn.Linear(3, 4), nn.Sequential(nn.Conv2d(3, 4, 3))])
def test_network_not_from_timm_raises(network):
    with pytest.raises(TypeError, match=r"timm\.create_model"):
        ERM(network)


@pytest.mark.parametrize("name", list(METHODS))
def test_unknown_option_raises(name):
    with pytest.raises(TypeError, match="lambda_magic"):
        METHODS[name](model(), lambda_magic=1.0)


def test_a_wrong_name_gets_a_hint():
    with pytest.raises(KeyError, match="Did you mean 'trades'"):
        METHODS["trade"]


@pytest.mark.parametrize("epsilon", [-0.01, 8.0])
def test_epsilon_in_other_units_raises(epsilon):
    with pytest.raises(ValueError, match="8/255 is"):
        EGAT(model(), epsilon=epsilon)
