"""SCA: contract, strength and settings."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from egat_hub.attacks.diffusion import Prompts, invert, noise_levels
from egat_hub.core.randomness import SampleRandom
from tests.attacks.diffusion.tiny import (
    EPSILON,
    NAMES,
    SIZE,
    attack,
    classifier,
    diffusion,
    embed,
    make_images,
)

IMAGES, LABELS = make_images(8, seed=2)
BUDGET = 0.02  # breaks nothing


@pytest.fixture
def model():
    return classifier()


@torch.no_grad()
def path_of(sca, images, labels, index):
    """The inversion that the attack starts from."""
    d = sca.diffusion
    levels = noise_levels(d.alphas_cumprod, sca.levels, sca.skip)
    text = embed(sca.prompts(images, labels))
    return invert(d, d.encode(images), text, embed([""]), levels, sca.guidance, SampleRandom(0, tuple(index)))


def test_sca_is_stronger_than_random_latents(model):
    images, labels = make_images(32, seed=3)
    sca = attack()
    result = sca(model, images, labels, EPSILON)
    path = path_of(sca, images, labels, range(32))
    noise = EPSILON * torch.randn(path.top.shape, generator=torch.Generator().manual_seed(0)).sign()
    with torch.no_grad():
        clean, random, attacked = (
            (model(shown).argmax(1) == labels).float().mean()
            for shown in (images, sca.diffusion.decode(path.denoise(noise)), result)
        )
    assert clean > 0.95
    assert attacked < random - 0.5


def test_the_budget_bounds_the_latent_exactly(model):
    perturbation = attack(step_size=0.8).run(model, IMAGES, LABELS, BUDGET).perturbation
    size = perturbation.abs().flatten(1).amax(1)
    assert (size <= BUDGET).all()
    assert (size == BUDGET).any()
    assert attack().budget(BUDGET) == {"budget_space": "latent", "latent_epsilon": BUDGET}


def test_the_images_are_those_of_the_perturbation(model):
    sca = attack()
    result = sca.run(model, IMAGES, LABELS, EPSILON / 2)
    with torch.no_grad():
        decoded = sca.diffusion.decode(path_of(sca, IMAGES, LABELS, range(8)).denoise(result.perturbation))
        wrong = model(result.images).argmax(1) != LABELS
    torch.testing.assert_close(result.images, decoded, rtol=0, atol=1e-4)
    assert 0 < wrong.float().mean() < 1
    assert result.images.min() >= 0
    assert result.images.max() <= 1


@torch.no_grad()
def test_the_point_of_highest_loss_is_kept_where_the_attack_fails(model):
    sca, losses = attack(step_size=1.0), {}
    for steps in (1, 2, 4):
        logits = model(replace(sca, steps=steps)(model, IMAGES, LABELS, BUDGET))
        assert (logits.argmax(1) == LABELS).all()
        losses[steps] = F.cross_entropy(logits, LABELS, reduction="none")
    clean = F.cross_entropy(model(sca(model, IMAGES, LABELS, 0.0)), LABELS, reduction="none")
    for fewer, more in ((clean, losses[1]), (losses[1], losses[2]), (losses[2], losses[4])):
        assert (more >= fewer - 1e-5).all()
    assert (losses[1] > clean).all()


def test_a_step_follows_the_gradient_at_the_end_of_the_path(model):
    sca = attack(steps=1, step_size=0.5)
    result = sca.run(model, IMAGES, LABELS, BUDGET)
    ends = path_of(sca, IMAGES, LABELS, range(8)).denoise().requires_grad_()
    loss = F.cross_entropy(model(sca.diffusion.decode(ends)), LABELS, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, ends)
    assert ((result.perturbation == BUDGET / 2 * gradient.sign()).flatten(1).float().mean(1) > 0.99).all()


def test_momentum_changes_the_steps_and_the_ball_clips_them(model):
    still, moving = (
        attack(step_size=0.6, momentum=m).run(model, IMAGES, LABELS, BUDGET).perturbation for m in (0.0, 1.0)
    )
    assert not torch.equal(still, moving)
    assert still.abs().max() == moving.abs().max() == torch.tensor(BUDGET)


def test_a_budget_of_zero_is_a_reconstruction(model):
    sca = attack()
    result = sca.run(model, IMAGES, LABELS, 0.0)
    with torch.no_grad():
        decoded = sca.diffusion.decode(sca.diffusion.encode(IMAGES))
    torch.testing.assert_close(result.images, decoded, rtol=0, atol=1e-5)
    assert not result.perturbation.any()


@pytest.mark.parametrize("epsilon", [BUDGET, EPSILON])
def test_results_do_not_depend_on_the_batch(epsilon):
    sca = attack(model=diffusion(dtype=torch.float64), decode_batch=3, step_size=0.2)
    model, images = classifier().double(), IMAGES.double()
    whole = sca.run(model, images, LABELS, epsilon, random=SampleRandom(3, tuple(range(10, 18)), step=7))
    for rows in ([5], [7, 0, 4]):
        draws = SampleRandom(3, tuple(10 + row for row in rows), step=7)
        part = sca.run(model, images[rows], LABELS[rows], epsilon, random=draws)
        torch.testing.assert_close(part.perturbation, whole.perturbation[rows], rtol=0, atol=1e-12)
        torch.testing.assert_close(part.images, whole.images[rows], rtol=0, atol=1e-9)


def test_models_gradients_and_random_states_are_unchanged(model):
    d = diffusion(unet=diffusion().unet.train())
    net = copy.deepcopy(model).train()
    for module in (net, d.vae, d.unet):
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
    net[1].eval()
    modes = [module.training for part in (net, d.vae, d.unet) for module in part.modules()]
    state, numbers = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    found = attack(model=d)(net, IMAGES, LABELS, EPSILON)
    assert modes == [module.training for part in (net, d.vae, d.unet) for module in part.modules()]
    assert torch.equal(numbers, torch.get_rng_state())
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in state.items())
    assert all((p.grad == 1).all() for part in (net, d.vae, d.unet) for p in part.parameters())
    assert not found.requires_grad
    torch.testing.assert_close(found, attack()(model, IMAGES, LABELS, EPSILON))


@pytest.mark.parametrize(("epsilon", "rests"), [(1e-6, False), (1.0, True)])
def test_the_cost_is_as_documented(model, epsilon, rests):
    sca = attack(steps=3, levels=2)
    rows = {"unet": 0, "decoder": 0}

    def count(name):
        def add(module, args, result):
            rows[name] += len(args[0])

        return add

    hooks = [
        sca.diffusion.unet.register_forward_hook(count("unet")),
        sca.diffusion.vae.decoder.register_forward_hook(count("decoder")),
    ]
    sca(model, IMAGES, LABELS, epsilon)
    for hook in hooks:
        hook.remove()
    most = {"unet": 8 * 2 * 2 * (3 + 2), "decoder": 8 * (3 + 2)}
    assert (rows != most) is rests
    assert all(rows[name] <= most[name] for name in most)


def test_prompts_steer_the_path(model):
    sca = attack()
    named = sca(model, IMAGES, LABELS, EPSILON)
    given = [f"a photo of a {NAMES[label].replace('_', ' ')}" for label in LABELS.tolist()]
    same = replace(sca, prompts=Prompts(captioner=lambda images: given))
    assert torch.equal(same(model, IMAGES, LABELS, EPSILON), named)
    captioned = replace(sca, prompts=Prompts(captioner=lambda images: ["a square"] * len(images)))
    assert not torch.equal(captioned(model, IMAGES, LABELS, EPSILON), named)
    assert captioned.protocol()["prompt"] == "captioner"


def test_size_and_dtype_of_the_images_are_kept(model):
    images = F.interpolate(IMAGES, (12, 20), mode="bilinear").double()
    found = attack()(classifier().double(), images, LABELS, EPSILON)
    assert found.shape == images.shape
    assert found.dtype == torch.float64


def test_outer_gradient_modes_do_not_matter(model):
    sca = attack()
    expected = sca(model, IMAGES, LABELS, EPSILON)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        inside = sca(model, IMAGES.clone(), LABELS.clone(), EPSILON)
    assert torch.equal(inside, expected)


def test_an_empty_batch_stays_empty(model):
    assert attack()(model, IMAGES[:0], LABELS[:0], EPSILON).shape == (0, 3, SIZE, SIZE)


def test_a_unet_in_half_precision_works():
    d = diffusion()
    sca = attack(model=replace(d, unet=d.unet.to(torch.bfloat16)))
    net = classifier()
    result = sca.run(net, IMAGES, LABELS, EPSILON)
    assert result.perturbation.dtype == torch.float32
    assert (net(result.images).argmax(1) != LABELS).float().mean() > 0.5


def test_a_classifier_that_is_not_finite_raises_an_error(model):
    nn.init.constant_(model[-1].bias[:1], float("nan"))
    with pytest.raises(FloatingPointError, match="gradient that is not finite"):
        attack()(model, IMAGES, LABELS, EPSILON)


@pytest.mark.parametrize("epsilon", [-0.1, float("nan"), float("inf")])
def test_epsilon_out_of_range_raises(model, epsilon):
    with pytest.raises(ValueError, match=r"epsilon in \[0, 1\]"):
        attack()(model, IMAGES, LABELS, epsilon)


def test_wrong_prompts_raise(model):
    with pytest.raises(ValueError, match="prompt for each of 8 images, got 1"):
        attack(prompts=Prompts(captioner=lambda images: ["one"]))(model, IMAGES, LABELS, EPSILON)
    with pytest.raises(ValueError, match="give label_names or a captioner"):
        attack(prompts=Prompts())(model, IMAGES, LABELS, EPSILON)
    with pytest.raises(ValueError, match="name for class 3, got 2"):
        attack(prompts=Prompts(label_names=NAMES[:2]))(model, IMAGES, LABELS, EPSILON)
    with pytest.raises(ValueError, match="template with one"):
        Prompts(label_names=NAMES, template="a photo")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps of at least 1"),
        ({"decode_batch": 0}, "decode_batch of at least 1"),
        ({"step_size": 0.0}, "positive step_size"),
        ({"momentum": -1.0}, "momentum of at least 0"),
        ({"levels": 0}, "at least 1 noise level"),
    ],
)
def test_settings_out_of_range_raise(options, message):
    with pytest.raises(ValueError, match=message):
        attack(**options)
