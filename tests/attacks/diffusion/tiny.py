"""A diffusion model of 35 000 weights, images it can decode, and a classifier of them."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.attacks.diffusion import SCA, LatentDiffusion, Prompts
from tests.helpers.networks import small_classifier
from tests.helpers.quadrants import CLASSES, quadrants

SIZE, WIDTH = 8, 8
NAMES = ("north_west", "north_east", "south_west", "south_east")
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
EPSILON = 0.15


def make_images(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy images [count,3,8,8] in [0,1]; the class is the brighter quarter."""
    return quadrants(count, seed, size=SIZE, noise=0.05, contrast=0.1)


def embed(prompts: Sequence[str]) -> Tensor:
    """Four random tokens that depend on the text."""
    seeds = [zlib.crc32(prompt.encode()) for prompt in prompts]
    return torch.stack([torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(s)) for s in seeds])


def make_unet(**options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **{
            "sample_size": SIZE,
            "block_out_channels": (8, 8),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": WIDTH,
            "attention_head_dim": 2,
            "norm_num_groups": 2,
            **options,
        }
    )


def make_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8,),
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        latent_channels=4,
        norm_num_groups=2,
        sample_size=SIZE,
        mid_block_add_attention=False,
    )


@functools.cache
def weights() -> dict[str, dict[str, Any]]:
    """Of an autoencoder and a classifier that have seen images, and of a U-Net that has not."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae, unet, classifier = make_vae(), make_unet(), small_classifier(CLASSES)
        images, labels = make_images(256, seed=1)
        optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
        for batch in images[torch.randint(256, (60, 32))]:
            latents = vae.encode(2 * batch - 1).latent_dist.mode()
            optimizer.zero_grad()
            F.mse_loss(vae.decode(latents).sample, 2 * batch - 1).backward()
            optimizer.step()
        optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
        for _ in range(40):
            optimizer.zero_grad()
            F.cross_entropy(classifier(images), labels).backward()
            optimizer.step()
        with torch.no_grad():
            spread = vae.eval().encode(2 * images - 1).latent_dist.mode().std().item()
    parts = {"vae": vae, "unet": unet, "classifier": classifier}
    return {"spread": {"": spread}, **{name: part.state_dict() for name, part in parts.items()}}


def classifier() -> nn.Module:
    """A trained classifier in eval mode."""
    net = small_classifier(CLASSES)
    net.load_state_dict(weights()["classifier"])
    return net.eval()


def diffusion(*, dtype: torch.dtype = torch.float32, **options: Any) -> LatentDiffusion:
    """A trained autoencoder and a random U-Net."""
    vae, unet = make_vae(), make_unet()
    vae.load_state_dict(weights()["vae"])
    vae.register_to_config(scaling_factor=1 / weights()["spread"][""])
    unet.load_state_dict(weights()["unet"])
    parts = {
        "vae": vae.eval().to(dtype),
        "unet": unet.eval().to(dtype),
        "embed": embed,
        "alphas_cumprod": DDIMScheduler(**SCHEDULE).alphas_cumprod,
        "resolution": SIZE,
    }
    return LatentDiffusion(**{**parts, **options})


def attack(*, model: LatentDiffusion | None = None, **options: Any) -> SCA:
    """SCA with few noise levels and a long step."""
    fast: dict[str, Any] = {"levels": 3, "steps": 3, "step_size": 0.5, "decode_batch": 8}
    fast["prompts"] = Prompts(label_names=NAMES)
    return SCA(diffusion=model or diffusion(), **{**fast, **options})
