"""DMADA-lite: a discriminator that learns, and features that learn the opposite."""

from __future__ import annotations

import pytest
import torch

from egat_hub.core.randomness import SampleRandom
from egat_hub.methods import DMADA, Batch
from egat_hub.methods.dmada import reverse_gradient
from egat_hub.methods.irm import change_look
from tests.helpers.methods import batch, model


def test_gradient_reversal():
    values = torch.tensor([1.0, -2.0], requires_grad=True)
    out = reverse_gradient(values, 0.5)
    torch.testing.assert_close(out, values)
    (3 * out.sum()).backward()
    assert values.grad.tolist() == [-1.5, -1.5]


def test_discriminator_improves_and_features_oppose_it():
    for part, better in (("discriminator", True), ("trunk", False)):
        method = DMADA(model(), ramp=1)
        images, labels = batch()
        before = method(images, labels, step=50)["domain"]
        moved = [*method.embed.parameters(), *method.discriminator.parameters()]
        if part == "trunk":
            moved = list(method.model.parameters())[:-2]
        gradients = torch.autograd.grad(before, moved)
        length = sum(gradient.square().sum() for gradient in gradients).sqrt()
        with torch.no_grad():
            for parameter, gradient in zip(moved, gradients, strict=True):
                parameter -= 1e-3 * gradient / length
        after = method(images, labels, step=50)["domain"]
        assert (after < before) == better


def test_domain_labels_are_soft():
    method = DMADA(model(), ramp=0)
    method.discriminator.weight.data.zero_()
    method.discriminator.bias.data.fill_(2.0)
    images, labels = batch()
    random = SampleRandom(0, tuple(range(len(images))), 7)
    ratio = method._ratio(Batch(images, labels, None, random))
    one, zero = torch.sigmoid(torch.tensor(2.0)).log(), torch.sigmoid(torch.tensor(-2.0)).log()
    expected = -(one + zero + 2 * (ratio * one + (1 - ratio) * zero))
    out = method(images, labels, step=7)["domain"].item()
    assert out == pytest.approx(0.1 * expected.item(), rel=1e-5)


def test_mixing_ratio_is_shared_and_away_from_one_half():
    method = DMADA(model())
    ratios = []
    for step in range(60):
        for index in ((0, 1), (5, 9)):
            images, labels = batch(2)
            ratios.append(method._ratio(Batch(images, labels, None, SampleRandom(0, index, step))))
    assert ratios[::2] == ratios[1::2]
    assert all(abs(2 * ratio - 1) >= 0.2 - 1e-6 for ratio in ratios)
    assert min(ratios) < 0.5 < max(ratios)


def test_discriminator_is_trained_and_not_saved_with_the_network():
    method = DMADA(model())
    names = {name.split(".")[0] for name, _ in method.named_parameters()}
    assert names == {"trainable_module", "embed", "discriminator"}
    assert not any("discriminator" in name for name in method.model.state_dict())


def test_augmentation_differs_by_image_and_stays_in_range():
    images, labels = batch()
    looks = change_look(Batch(images, labels, None, SampleRandom(0, tuple(range(len(images))), 3)))
    assert 0 <= looks.min() <= looks.max() <= 1
    assert ((looks - images).abs().amax((1, 2, 3)) > 0.01).all()
