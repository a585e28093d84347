"""The noise levels that a latent passes through on its way from noise to image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseLevels:
    """Levels from noisy to clean; at each of them a latent is ``alpha z0 + sigma noise``.

    Attributes:
        timesteps: the N timesteps that the U-Net is asked at, descending.
        alpha: share of the clean latent at each of them and at the last level, N + 1 values.
        sigma: share of noise, N + 1 values; the last level is the least noisy one of the training schedule,
            which is not 0.
    """

    timesteps: tuple[int, ...]
    alpha: tuple[float, ...]
    sigma: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.timesteps)

    def log_snr(self, level: int) -> float:
        """``log(alpha / sigma)`` of a level."""
        return math.log(self.alpha[level] / self.sigma[level])


def noise_levels(alphas_cumprod: Tensor, count: int, skip: float) -> NoiseLevels:
    """Levels at evenly spaced timesteps from ``T (1 - skip) - 1`` to 1, of T in training.

    Args:
        alphas_cumprod: squared share of the clean latent at every timestep of the training schedule [T].
        count: number of levels N.
        skip: share of the noisiest timesteps that is left out, in [0, 1).

    Raises:
        ValueError: no level, a skip outside [0, 1), or more levels than there are timesteps.
    """
    if count < 1:
        raise ValueError(f"Expected at least 1 noise level, got {count}.")
    if not 0 <= skip < 1:
        raise ValueError(f"Expected skip in [0, 1), a share of the timesteps, got {skip}.")
    last = len(alphas_cumprod) * (1 - skip) - 1
    timesteps = torch.linspace(last, 1, count, dtype=torch.float64).round().long().tolist()
    if len(set(timesteps)) < count or last < 1:
        raise ValueError(
            f"Expected at most {max(round(last), 0)} noise levels, the timesteps that skip={skip} leaves of "
            f"{len(alphas_cumprod)}, got {count}."
        )
    signal = alphas_cumprod.double().cpu()[[*timesteps, 0]]
    return NoiseLevels(tuple(timesteps), tuple(signal.sqrt().tolist()), tuple((1 - signal).sqrt().tolist()))
