"""Attacks leave the model and global state unchanged, and always run in eval mode."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

EPSILON = 0.03


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def mix(model: nn.Module) -> nn.Module:
    """Training mode, but for the first BatchNorm and the dropout."""
    model.train()
    model[1].eval()
    model[3].eval()
    return model


@pytest.mark.parametrize("prepare", [nn.Module.train, nn.Module.eval, mix])
def test_modes_and_statistics_are_restored(attack, model, images, labels, prepare):
    prepare(model)
    before, state = modes(model), {name: value.clone() for name, value in model.state_dict().items()}
    attack(model, images, labels, EPSILON)
    assert modes(model) == before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_mode_of_the_model_does_not_matter(attack, model, images, labels):
    expected = attack(model, images, labels, EPSILON)
    assert torch.equal(attack(model.train(), images, labels, EPSILON), expected)
    assert torch.equal(attack(mix(model), images, labels, EPSILON), expected)


def test_modes_are_restored_after_an_error(attack, model, images, labels):
    before = modes(mix(model))

    def fail(module, inputs, output):
        if output.requires_grad:
            raise RuntimeError("a model that fails")

    model.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="a model that fails"):
        attack(model, images, labels, EPSILON)
    assert modes(model) == before
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_modes_are_restored_after_an_objective_that_fails(gradient_attack, model, images, labels):
    before = modes(mix(model))

    def fail(logits, rows):
        raise RuntimeError("an objective that fails")

    with pytest.raises(RuntimeError, match="an objective that fails"):
        gradient_attack(model, images, labels, EPSILON, objective=fail)
    assert modes(model) == before


def test_gradients_of_parameters_are_unchanged(attack, model, images, labels):
    generator = torch.Generator().manual_seed(0)
    kept = dict(list(model.named_parameters())[::2])
    for parameter in kept.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    before = {name: (parameter.grad, parameter.grad.clone()) for name, parameter in kept.items()}
    attack(model, images, labels, EPSILON)
    for name, parameter in model.named_parameters():
        if name in kept:
            assert parameter.grad is before[name][0]
            assert torch.equal(parameter.grad, before[name][1])
        else:
            assert parameter.grad is None
        assert parameter.requires_grad


def test_frozen_parameters_do_not_matter(attack, model, images, labels):
    expected = attack(model, images, labels, EPSILON)
    assert torch.equal(attack(model.requires_grad_(False), images, labels, EPSILON), expected)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_global_random_states_are_unchanged(attack, model, images, labels):
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    attack(model.train(), images, labels, EPSILON)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002


def test_the_outer_gradient_mode_is_restored(attack, model, images, labels):
    attack(model, images, labels, EPSILON)
    assert torch.is_grad_enabled()
    with torch.no_grad():
        attack(model, images, labels, EPSILON)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        attack(model, images, labels, EPSILON)
        assert torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("lowered", "seen"), [(torch.float16, torch.float32), (torch.bfloat16, torch.bfloat16)]
)
def test_float16_autocast_is_off_inside(attack, model, images, labels, lowered, seen):
    kinds = set()
    model.register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    with torch.autocast("cpu", dtype=lowered):
        perturbed = attack(model, images, labels, EPSILON)
        assert torch.is_autocast_enabled("cpu")
    assert kinds == {seen}
    assert perturbed.dtype == torch.float32
