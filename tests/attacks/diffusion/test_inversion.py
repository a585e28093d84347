"""Inversion and solver against the scheduler of diffusers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from egat_hub.attacks.diffusion import invert, noise_levels
from egat_hub.core.randomness import SampleRandom
from tests.attacks.diffusion.tiny import NAMES, SCHEDULE, diffusion, embed, make_images

GUIDANCE = 4.5


@pytest.fixture(params=["epsilon", "v_prediction", "sample"])
def model(request):
    return diffusion(prediction=request.param)


@torch.no_grad()
def inverted(model, rows=range(4), count=10):
    latents = model.encode(make_images(8, seed=2)[0][list(rows)])
    text = embed([NAMES[row % 4] for row in rows])
    levels = noise_levels(model.alphas_cumprod, count, 0.1)
    random = SampleRandom(0, tuple(rows))
    return latents, invert(model, latents, text, embed([""]), levels, GUIDANCE, random)


@pytest.mark.parametrize("count", [1, 2, 10])
def test_the_path_ends_at_its_latent(model, count):
    latents, path = inverted(model, count=count)
    torch.testing.assert_close(path.denoise(), latents, rtol=0, atol=1e-4)
    assert (path.denoise(0.1) - latents).abs().mean() > 1e-3


@torch.no_grad()
def test_the_scheduler_of_diffusers_follows_the_same_path(model):
    path = inverted(model)[1]
    scheduler = DPMSolverMultistepScheduler(
        **SCHEDULE,
        algorithm_type="sde-dpmsolver++",
        solver_order=2,
        lower_order_final=False,
        final_sigmas_type="sigma_min",
        prediction_type=model.prediction,
    )
    scheduler.set_timesteps(timesteps=list(path.levels.timesteps))
    x = path.top + 0.05
    for timestep, noise in zip(scheduler.timesteps, path.noise, strict=True):
        without, prompted = (
            model.unet(x, timestep, encoder_hidden_states=text).sample
            for text in (path.empty.expand_as(path.text), path.text)
        )
        guided = without + GUIDANCE * (prompted - without)
        x = scheduler.step(guided, timestep, x, variance_noise=noise).prev_sample
    torch.testing.assert_close(path.denoise(0.05), x, rtol=1e-4, atol=1e-4)


def test_the_path_passes_through_independent_noisy_copies():
    model, seen = diffusion(), []
    latents, path = inverted(model, count=4)
    model.unet.register_forward_pre_hook(lambda module, args: seen.append(args[0].chunk(2)[0]))
    path.denoise()
    levels = zip(seen, path.levels.alpha, path.levels.sigma, strict=False)
    noise = torch.stack([((x - alpha * latents) / sigma).flatten() for x, alpha, sigma in levels])
    assert len(noise) == 4
    torch.testing.assert_close(noise.std(1), torch.ones(4), rtol=0, atol=0.1)
    assert (noise.corrcoef() - torch.eye(4)).abs().max() < 0.15
    other = SampleRandom(1, tuple(range(4)))
    again = invert(model, latents, path.text, path.empty, path.levels, GUIDANCE, other)
    assert not torch.equal(again.top, path.top)


def test_inversion_does_not_depend_on_the_batch():
    model = diffusion(dtype=torch.float64)
    with torch.no_grad():
        images = make_images(8, seed=2)[0].double()
        levels = noise_levels(model.alphas_cumprod, 4, 0.1)

        def path(rows):
            texts = embed([NAMES[row % 4] for row in rows])
            latents = model.encode(images[rows])
            return invert(model, latents, texts, embed([""]), levels, GUIDANCE, SampleRandom(5, tuple(rows)))

        whole, part = path([0, 1, 2, 3]).select(torch.tensor([2, 1])), path([2, 1])
    torch.testing.assert_close(part.top, whole.top, rtol=0, atol=0)
    torch.testing.assert_close(part.denoise(0.1), whole.denoise(0.1), rtol=0, atol=1e-9)
