"""DDIM inversion of images, and the prompts it is conditioned on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from egat_hub.attacks.diffusion.model import LatentDiffusion, NoiseLevels
from egat_hub.core.randomness import SampleRandom


def solver_step(
    levels: NoiseLevels, level: int, latents: Tensor, data: Tensor, before: Tensor | None
) -> tuple[Tensor, float]:
    """Mean and standard deviation of the latents at level ``level + 1``, given those at ``level``.

    With h the gain in log-SNR, ``share = 1 - exp(-2h)`` and the noisier level s, the cleaner level t::

        mean      = sigma_t / sigma_s exp(-h) x + alpha_t share (m + (m - m_before) h / (2 h_before))
        deviation = sigma_t sqrt(share)

    This is the midpoint form; the first step has no ``m_before`` and is of order 1.

    Args:
        levels: all noise levels.
        level: the one that ``latents`` are at, from 0.
        latents: x, of any shape.
        data: m, the clean latents as predicted at this level.
        before: those predicted at the level before, or None at the first.
    """
    gain = levels.log_snr(level + 1) - levels.log_snr(level)
    share = -math.expm1(-2 * gain)
    if before is not None:
        gain_before = levels.log_snr(level) - levels.log_snr(level - 1)
        data = data + (data - before) * (gain / (2 * gain_before))
    keep = levels.sigma[level + 1] / levels.sigma[level] * math.exp(-gain)
    mean = keep * latents + levels.alpha[level + 1] * share * data
    return mean, levels.sigma[level + 1] * math.sqrt(share)


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """A prompt for every image, from the name of its true class or from a captioner.

    Attributes:
        label_names: one name a class, in the order of the logits; underscores are read as spaces.
        template: sentence with one ``{}`` for the name.
        captioner: images [B,3,H,W] in [0,1] to B captions, in place of names.

    Raises:
        ValueError: a template without a place for the name.
    """

    label_names: tuple[str, ...] = ()
    template: str = "a photo of a {}"
    captioner: Callable[[Tensor], Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if self.template.count("{}") != 1:
            raise ValueError(f"Expected a template with one {{}} for the class name, got {self.template!r}.")

    def __call__(self, images: Tensor, labels: Tensor) -> list[str]:
        """A prompt for each of the images.

        Args:
            images: [B,3,H,W] in [0,1].
            labels: true classes [B].

        Raises:
            ValueError: neither names nor a captioner, or a class without a name.
        """
        if self.captioner is not None:
            return list(self.captioner(images))
        if not self.label_names:
            raise ValueError(
                "Expected descriptions of the images: give label_names or a captioner to Prompts."
            )
        if len(labels) and int(labels.max()) >= len(self.label_names):
            raise ValueError(
                f"Expected a name for class {int(labels.max())}, got {len(self.label_names)} label_names."
            )
        return [self.template.format(self.label_names[label].replace("_", " ")) for label in labels.tolist()]

    @property
    def source(self) -> str:
        """Where prompts come from, as result rows note it."""
        return "captioner" if self.captioner is not None else self.template


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
