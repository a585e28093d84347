"""Noise levels against the training schedule."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler

from egat_hub.attacks.diffusion import noise_levels
from tests.attacks.diffusion.tiny import SCHEDULE

ALPHAS = DDIMScheduler(**SCHEDULE).alphas_cumprod


def test_levels_run_from_the_skipped_share_to_the_least_noisy_level():
    levels = noise_levels(ALPHAS, 10, 0.1)
    assert levels.timesteps == (899, 799, 699, 600, 500, 400, 300, 201, 101, 1)
    shares = torch.tensor([levels.alpha, levels.sigma], dtype=torch.float64)
    torch.testing.assert_close(shares.square().sum(0), torch.ones(11, dtype=torch.float64))
    torch.testing.assert_close(shares[0].square().float(), ALPHAS[[*levels.timesteps, 0]])
    assert levels.sigma[-1] > 0


@pytest.mark.parametrize(
    ("count", "skip", "message"),
    [
        (0, 0.1, "at least 1 noise level, got 0"),
        (10, 1.0, r"skip in \[0, 1\)"),
        (10, -0.1, r"skip in \[0, 1\)"),
        (101, 0.9, "at most 99 noise levels"),
        (1, 0.999, "at most 0 noise levels"),
    ],
)
def test_impossible_levels_raise(count, skip, message):
    with pytest.raises(ValueError, match=message):
        noise_levels(ALPHAS, count, skip)
