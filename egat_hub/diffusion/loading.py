"""A diffusion model by name."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from egat_hub.diffusion.model import LatentDiffusion


def load_diffusion(
    source: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    resolution: int | None = None,
) -> LatentDiffusion:
    """Load a Stable Diffusion pipeline of class 1.x or 2.x through ``diffusers``, from safetensors only.

    The safety checker is left out; its weights are not even fetched.

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
