"""FGSM and MI-FGSM against the same updates written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from egat_hub.attacks import FGSM, MIFGSM

EPSILON = 8 / 255


def gradient_of(model, x, labels):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(nn.CrossEntropyLoss(reduction="sum")(model(x), labels), x)[0]


@pytest.mark.parametrize("epsilon", [EPSILON, 0.3])
def test_fgsm_is_one_step_of_full_length(model, images, labels, epsilon):
    expected = (images + epsilon * gradient_of(model, images, labels).sign()).clamp(0, 1)
    assert (FGSM()(model, images, labels, epsilon) - expected).abs().max() <= 1e-6


@pytest.mark.parametrize(("momentum", "steps", "step_size"), [(1.0, 10, None), (0.5, 4, 0.4), (0.0, 3, 0.5)])
def test_mi_fgsm_equals_the_update_by_hand_one_image_at_a_time(
    model, images, labels, momentum, steps, step_size
):
    length = EPSILON * (1 / steps if step_size is None else step_size)
    found = MIFGSM(momentum=momentum, steps=steps, step_size=step_size)(model, images, labels, EPSILON)
    for image, label, attacked in zip(images, labels, found, strict=True):
        x, direction = image[None], 0
        for _ in range(steps):
            gradient = gradient_of(model, x, label[None])
            direction = momentum * direction + gradient / gradient.abs().sum()
            x = (x + length * direction.sign()).clamp(image - EPSILON, image + EPSILON).clamp(0, 1)
        assert (attacked - x[0]).abs().max() <= 1e-6


def test_momentum_changes_the_result(model, images, labels):
    with_momentum, without = (
        MIFGSM(momentum=momentum, steps=20, step_size=0.5)(model, images, labels, 0.2) for momentum in (1, 0)
    )
    assert not torch.equal(with_momentum, without)


def test_an_image_without_gradient_is_unchanged(images, labels):
    constant = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 4))
    nn.init.zeros_(constant[1].weight)
    assert torch.equal(MIFGSM()(constant, images, labels, EPSILON), images)


def test_the_default_step_is_relative_to_epsilon():
    assert MIFGSM(steps=5).protocol()["step_size"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 0}, "at least 1 step"), ({"momentum": -1}, "momentum"), ({"step_size": 0}, "step_size")],
)
def test_settings_out_of_range_raise(options, message):
    with pytest.raises(ValueError, match=message):
        MIFGSM(**options)
