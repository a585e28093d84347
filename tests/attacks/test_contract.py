"""The contract of every registered attack."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from egat_hub.attacks import ATTACKS
from egat_hub.core.randomness import SampleRandom
from tests.attacks.toy_attacks import Unruly

EPSILON = 0.03


@pytest.mark.parametrize("epsilon", [1e-4, 8 / 255, 0.2, 1.0])
def test_images_stay_in_the_ball_and_in_range(attack, model, images, labels, epsilon):
    perturbed = attack(model, images, labels, epsilon)
    assert (perturbed - images).abs().max() <= epsilon + 1e-6
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1
    assert not torch.equal(perturbed, images)


def test_black_and_white_images_stay_in_range(attack, model):
    images = torch.stack([torch.zeros(3, 12, 12), torch.ones(3, 12, 12)])
    perturbed = attack(model, images, torch.tensor([0, 1]), 0.1)
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1
    assert (perturbed - images).abs().max() <= 0.1 + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_and_dtype_are_those_of_the_images(attack, model, images, labels, dtype):
    perturbed = attack(model.to(dtype), images.to(dtype), labels, EPSILON)
    assert perturbed.shape == images.shape
    assert perturbed.dtype == dtype
    assert not perturbed.requires_grad


def test_the_loss_rises(attack, model, images, labels):
    with torch.no_grad():
        clean = F.cross_entropy(model(images), labels)
        after = F.cross_entropy(model(attack(model, images, labels, EPSILON)), labels)
    assert after > clean + 0.1


def test_epsilon_0_returns_a_copy(attack, model, images, labels):
    perturbed = attack(model, images, labels, 0.0)
    assert torch.equal(perturbed, images)
    assert perturbed.data_ptr() != images.data_ptr()


def test_an_empty_batch_stays_empty(attack, model, images, labels):
    assert attack(model, images[:0], labels[:0], EPSILON).shape == (0, 3, 12, 12)


def test_the_result_is_a_new_detached_tensor(attack, model, images, labels):
    before, leaf = images.clone(), images.clone().requires_grad_()
    perturbed = attack(model, leaf, labels, EPSILON)
    assert not perturbed.requires_grad
    assert leaf.grad is None
    perturbed.zero_()
    assert torch.equal(leaf, before)


@pytest.mark.parametrize("epsilon", [-0.01, 1.01, 8.0, float("nan"), float("inf")])
def test_epsilon_out_of_range_raises(attack, model, images, labels, epsilon):
    with pytest.raises(ValueError, match=r"epsilon in \[0, 1\].*8/255 is 0\.0314"):
        attack(model, images, labels, epsilon)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("layer", [0, -1])
def test_a_model_that_is_not_finite_raises_an_error(attack, model, images, labels, value, layer):
    torch.nn.init.constant_(model[layer].bias[:1], value)
    with pytest.raises(FloatingPointError, match="gradient that is not finite"):
        attack(model, images, labels, EPSILON)


@pytest.mark.parametrize("outer", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_outer_gradient_modes_do_not_matter(attack, model, images, labels, outer):
    expected = attack(model, images, labels, EPSILON)
    with outer():
        inside = attack(model, images.clone(), labels.clone(), EPSILON)
    assert torch.equal(inside, expected)
    assert F.cross_entropy(model(inside), labels).requires_grad


def test_the_same_call_gives_the_same_images(attack, model, images, labels):
    first = attack(model, images, labels, EPSILON)
    torch.rand(5)
    assert torch.equal(attack(model, images, labels, EPSILON), first)


def test_results_do_not_depend_on_the_batch(attack, model, images, labels):
    model, images = model.double(), images.double()
    random = SampleRandom(3, tuple(range(100, 116)), step=7)
    whole = attack(model, images, labels, EPSILON, random=random)
    for rows in ([5], [9, 0, 15]):
        draws = SampleRandom(3, tuple(100 + row for row in rows), step=7)
        part = attack(model, images[rows], labels[rows], EPSILON, random=draws)
        assert torch.allclose(part, whole[rows], rtol=0, atol=1e-9)


def test_memory_format_does_not_matter(attack, model, images, labels):
    model, images = model.double(), images.double()
    expected = attack(model, images, labels, EPSILON)
    perturbed = attack(model, images.to(memory_format=torch.channels_last), labels, EPSILON)
    assert torch.allclose(perturbed, expected, rtol=0, atol=1e-9)


def test_another_objective_is_followed(gradient_attack, model, images, labels):
    target = (labels + 1) % 4
    with torch.no_grad():
        towards = gradient_attack(
            model, images, labels, 0.1, objective=lambda z, rows: z.gather(1, target[:, None])[:, 0]
        )
        gain = (model(towards) - model(images)).gather(1, target[:, None])
    assert (gain > 0).all()


@pytest.mark.parametrize("by", [-3.0, 3.0])
def test_the_base_class_projects_on_the_ball(model, images, labels, by):
    perturbed = Unruly(by=by)(model, images, labels, EPSILON)
    assert torch.allclose(perturbed, (images + (EPSILON if by > 0 else -EPSILON)).clamp(0, 1))


def test_perturbed_images_that_are_not_finite_raise_an_error(model, images, labels):
    with pytest.raises(FloatingPointError, match="Unruly met"):
        Unruly(by=float("nan"))(model, images, labels, EPSILON)


def test_random_numbers_for_another_number_of_images_raise(model, images, labels):
    with pytest.raises(ValueError, match="zip"):
        ATTACKS["pgd"]()(model, images, labels, EPSILON, random=SampleRandom(0, (1, 2)))


def test_images_outside_the_range_stay_in_the_ball(attack, model, images, labels):
    wide = 3 * images - 1
    perturbed = attack(model, wide, labels, EPSILON)
    assert (perturbed - wide).abs().max() <= EPSILON + 1e-6


@pytest.mark.parametrize("epsilon", [1e-3, 0.01, EPSILON])
def test_bfloat16_images_stay_in_the_ball(attack, model, images, labels, epsilon):
    images = images.bfloat16()
    perturbed = attack(model.bfloat16(), images, labels, epsilon)
    assert (perturbed.double() - images.double()).abs().max() <= epsilon
    if epsilon == EPSILON:  # the others are near the resolution of bfloat16
        assert not torch.equal(perturbed, images)


def test_images_of_8_bits_raise(attack, model, images, labels):
    with pytest.raises(ValueError, match=r"floating-point images .* got torch\.uint8.*Divide"):
        attack(model, (255 * images).byte(), labels, EPSILON)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_of_any_integer_type_are_accepted(attack, model, images, labels, dtype):
    expected = attack(model, images, labels, EPSILON)
    assert torch.equal(attack(model, images, labels.to(dtype), EPSILON), expected)


def test_an_attack_with_losses_of_its_own_refuses_an_objective(attack, model, images, labels):
    if attack.takes_objective:
        assert not torch.equal(
            attack(model, images, labels, EPSILON, objective=lambda logits, rows: logits[:, 0]), images
        )
    else:
        with pytest.raises(ValueError, match="Leave out objective"):
            attack(model, images, labels, EPSILON, objective=lambda logits, rows: logits[:, 0])
