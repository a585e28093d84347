"""Edit-friendly inversion: a noisy path that ends exactly at a given latent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from egat_hub.diffusion.levels import NoiseLevels
from egat_hub.diffusion.model import LatentDiffusion
from egat_hub.diffusion.solver import solver_step
from egat_hub.randomness import SampleRandom


@dataclass(frozen=True, kw_only=True, eq=False)
class Inversion:
    """Where the path of a latent starts, and the noise that keeps it on course.

    Attributes:
        diffusion: the model that was inverted.
        levels: the N noise levels of the path.
        guidance: weight of the prompt.
        text: embeddings of the prompts [B, tokens, width].
        empty: embedding of the empty prompt [1, tokens, width].
        top: latents at the noisiest level [B,c,h,w].
        noise: what the solver adds on each step, N of [B,c,h,w].
    """

    diffusion: LatentDiffusion
    levels: NoiseLevels
    guidance: float
    text: Tensor
    empty: Tensor
    top: Tensor
    noise: tuple[Tensor, ...] = ()

    def select(self, rows: Tensor) -> Inversion:
        """That of some of the samples."""
        noise = tuple(noise[rows] for noise in self.noise)
        return replace(self, text=self.text[rows], top=self.top[rows], noise=noise)

    def denoise(self, offset: Tensor | float = 0.0) -> Tensor:
        """Where the path ends [B,c,h,w] if it starts at ``top + offset``; with no offset, at its latent.

        Gradients are not recorded. Cost: 2 N U-Net evaluations a latent.
        """
        return self._follow(self.top + offset, lambda level, mean, deviation: self.noise[level])

    @torch.no_grad()
    def _follow(self, latents: Tensor, noise: Callable[[int, Tensor, float], Tensor]) -> Tensor:
        before = None
        for level in range(len(self.levels)):
            data = self.diffusion.predict(latents, self.levels, level, self.text, self.empty, self.guidance)
            mean, deviation = solver_step(self.levels, level, latents, data, before)
            latents, before = mean + deviation * noise(level, mean, deviation), data
        return latents


@torch.no_grad()
def invert(
    diffusion: LatentDiffusion,
    latents: Tensor,
    text: Tensor,
    empty: Tensor,
    levels: NoiseLevels,
    guidance: float,
    random: SampleRandom,
) -> Inversion:
    """Find the noise with which the solver passes through noisy copies of ``latents`` and ends at them.

    Edit-friendly inversion (Huberman-Spiegelglas et al. 2023, arXiv 2304.06140) with the solver of LEDITS++
    (arXiv 2311.16711). The copies ``alpha z0 + sigma noise`` of the levels have noise of their own each,
    unlike a diffusion path. The noise of a step is solved for from where the solver really is, so that no
    error builds up. Cost: 2 N U-Net evaluations a latent.

    Args:
        diffusion: the model.
        latents: clean latents z0 [B,c,h,w].
        text: embeddings of the prompts [B, tokens, width].
        empty: embedding of the empty prompt [1, tokens, width].
        levels: the N noise levels.
        guidance: weight of the prompt.
        random: keyed random numbers of the copies.
    """
    copies = [
        levels.alpha[level] * latents + levels.sigma[level] * random.normal(latents, f"diffusion {level}")
        for level in range(len(levels))
    ]
    targets, solved = [*copies[1:], latents], []

    def solve(level: int, mean: Tensor, deviation: float) -> Tensor:
        solved.append((targets[level] - mean) / deviation)
        return solved[level]

    path = Inversion(
        diffusion=diffusion, levels=levels, guidance=guidance, text=text, empty=empty, top=copies[0]
    )
    path._follow(path.top, solve)
    return replace(path, noise=tuple(solved))
