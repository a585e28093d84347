"""Stable Diffusion as a map from latents to images, and the inversion of images with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.models.train_mode import evaluating


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Images [B,3,H,W] at another size, bilinear and antialiased; as they are if it is theirs."""
    size = (height, width)
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


MARGIN = 0.01


def smooth_clamp(values: Tensor) -> Tensor:
    """The identity on [0.01, 0.99], bent by a tanh beyond, so that all values are in [0, 1].

    Value and derivative are continuous. A plain clamp has no gradient where a decoder overshoots, as it does
    in white and black regions.
    """
    low = MARGIN * (1 + torch.tanh((values - MARGIN) / MARGIN))
    high = 1 - MARGIN * (1 + torch.tanh((1 - values - MARGIN) / MARGIN))
    return torch.where(values < MARGIN, low, torch.where(values > 1 - MARGIN, high, values))


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


Prediction = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentDiffusion:
    """The parts of a Stable Diffusion pipeline of class 1.x or 2.x, without its sampler and its checkers.

    Images are [B,3,H,W] in [0,1]; latents are [B,c,h,w] of about unit variance, in float32 (or
    float64), whatever the precision of the U-Net. Parts may be on another device than the images.

    Attributes:
        vae: a ``diffusers.AutoencoderKL``, in float32 or bfloat16.
        unet: a ``diffusers.UNet2DConditionModel``, of any precision.
        embed: prompts to their embeddings [B, tokens, width] as the U-Net takes them.
        alphas_cumprod: squared share of the clean latent at every timestep of the training schedule [T].
        prediction: what the U-Net predicts: the noise, the velocity or the clean latent.
        resolution: side of the square images that are encoded and decoded, in pixels.
        name: name in result rows.

    Raises:
        ValueError: a part that does not fit; the message names it.
    """

    vae: Any
    unet: Any
    embed: Callable[[Sequence[str]], Tensor]
    alphas_cumprod: Tensor
    prediction: Prediction = "epsilon"
    resolution: int
    name: str = ""

    def __post_init__(self) -> None:
        if self.prediction not in get_args(Prediction):
            known = ", ".join(get_args(Prediction))
            raise ValueError(f"Expected a U-Net that predicts one of {known}, got {self.prediction!r}.")
        if self.vae.dtype == torch.float16:
            raise ValueError(
                "Expected an autoencoder in float32 or bfloat16, got float16, in which gradients of images "
                "vanish; call pipeline.vae.to(torch.float32). The U-Net may stay in float16."
            )
        if self.unet.config.in_channels != self.vae.config.latent_channels:
            raise ValueError(
                f"Expected a U-Net that takes the {self.vae.config.latent_channels} channels of the latent "
                f"and no others, got {self.unet.config.in_channels}; pipelines for inpainting, depth or "
                "instructions are not supported."
            )
        if getattr(self.unet.config, "addition_embed_type", None):
            raise ValueError(
                f"Expected a U-Net that is conditioned on a prompt only, got one with additional embeddings "
                f"of type {self.unet.config.addition_embed_type!r} (Stable Diffusion XL); take 1.x or 2.x."
            )

    @classmethod
    def of(cls, pipeline: Any, *, resolution: int | None = None) -> LatentDiffusion:
        """The parts of a ``diffusers.StableDiffusionPipeline``, which is not changed.

        Args:
            pipeline: with ``vae``, ``unet``, ``scheduler`` and ``encode_prompt``.
            resolution: side of the images in pixels; by default what the U-Net was trained for.
        """
        missing = [n for n in ("vae", "unet", "scheduler", "encode_prompt") if not hasattr(pipeline, n)]
        if missing:
            name, lacks = type(pipeline).__name__, ", ".join(missing)
            raise TypeError(f"Expected a StableDiffusionPipeline, got {name}, which has no {lacks}.")

        def embed(prompts: Sequence[str]) -> Tensor:
            with evaluating(pipeline.text_encoder):
                return pipeline.encode_prompt(list(prompts), pipeline.text_encoder.device, 1, False)[0]

        scale = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        return cls(
            vae=pipeline.vae,
            unet=pipeline.unet,
            embed=embed,
            alphas_cumprod=pipeline.scheduler.alphas_cumprod,
            prediction=pipeline.scheduler.config.prediction_type,
            resolution=resolution or scale * pipeline.unet.config.sample_size,
            name=Path(getattr(pipeline.config, "_name_or_path", None) or "").name,
        )

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode inside, restored after."""
        with evaluating(self.vae), evaluating(self.unet):
            yield

    def encode(self, images: Tensor) -> Tensor:
        """Images [B,3,H,W] in [0,1], resized, to the most likely latents [B,c,h,w]."""
        pixels = resize(images, self.resolution, self.resolution)
        posterior = self.vae.encode((2 * pixels - 1).to(self.vae.device, self.vae.dtype)).latent_dist
        precision = torch.promote_types(images.dtype, torch.float32)
        return posterior.mode().to(self.unet.device, precision) * self.vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B,c,h,w] to images [B,3,R,R] in [0,1], R the resolution; differentiable."""
        scaled = (latents / self.vae.config.scaling_factor).to(self.vae.device, self.vae.dtype)
        return smooth_clamp((self.vae.decode(scaled).sample.to(latents) + 1) / 2)

    def predict(
        self, latents: Tensor, levels: NoiseLevels, level: int, text: Tensor, empty: Tensor, guidance: float
    ) -> Tensor:
        """The clean latents [B,c,h,w] behind noisy ones at a level, under classifier-free guidance.

        The U-Net's outputs are combined as ``without + guidance (with - without)`` the prompt, given
        ``text`` [B, tokens, width] and ``empty`` [1, tokens, width]. Cost: two U-Net evaluations a latent.
        """
        alpha, sigma = levels.alpha[level], levels.sigma[level]
        both = torch.cat([empty.expand_as(text), text]).to(self.unet.device, self.unet.dtype)
        twice = torch.cat([latents, latents]).to(self.unet.dtype)
        found = self.unet(twice, levels.timesteps[level], encoder_hidden_states=both, return_dict=False)[0]
        without, prompted = found.to(latents.dtype).chunk(2)
        output = without + guidance * (prompted - without)
        if self.prediction == "epsilon":
            return (latents - sigma * output) / alpha
        if self.prediction == "v_prediction":
            return alpha * latents - sigma * output
        return output


def load_diffusion(
    source: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    resolution: int | None = None,
) -> LatentDiffusion:
    """Load a Stable Diffusion pipeline of class 1.x or 2.x through ``diffusers``, from safetensors only.

    The safety checker is left out; its weights are not downloaded.

    Args:
        source: Hub id (``"org/name"`` or ``"org/name@revision"``), or a folder from ``save_pretrained``.
        dtype: of U-Net and text encoder. The autoencoder is in float32, since gradients pass through it.
        device: where all of it goes.
        resolution: side of the images in pixels; by default what the U-Net was trained for.

    Raises:
        ImportError: ``diffusers`` or ``transformers`` is not installed.
        OSError: there is no such pipeline, or it has no safetensors.
    """
    try:
        import transformers  # noqa: F401  (or diffusers fails later, with a message of its own)
        from diffusers import DiffusionPipeline
    except ImportError as error:
        raise ImportError(
            f"SCA needs diffusers and transformers, which cannot be imported ({error}): "
            "pip install 'egat-hub[sca]'"
        ) from error
    name, _, revision = (str(source), "", "") if Path(source).is_dir() else str(source).partition("@")
    pipeline = DiffusionPipeline.from_pretrained(
        name,
        revision=revision or None,
        use_safetensors=True,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for part, precision in (
        (pipeline.vae, torch.float32),
        (pipeline.unet, dtype),
        (pipeline.text_encoder, dtype),
    ):
        nn.Module.to(part, precision)  # a method of the same name in diffusers warns without need
    return LatentDiffusion.of(pipeline.to(device), resolution=resolution)


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
        before: those predicted at the level before, or None.
    """
    gain = levels.log_snr(level + 1) - levels.log_snr(level)
    share = -math.expm1(-2 * gain)
    if before is not None:
        gain_before = levels.log_snr(level) - levels.log_snr(level - 1)
        data = data + (data - before) * (gain / (2 * gain_before))
    keep = levels.sigma[level + 1] / levels.sigma[level] * math.exp(-gain)
    mean = keep * latents + levels.alpha[level + 1] * share * data
    return mean, levels.sigma[level + 1] * math.sqrt(share)


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

    Arguments are those of :class:`Inversion`; ``latents`` are the clean ones, z0 [B,c,h,w].
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
