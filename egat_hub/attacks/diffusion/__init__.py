"""Attacks in the latent space of a diffusion model (extra ``sca``)."""

from egat_hub.attacks.diffusion.model import LatentDiffusion, invert, load_diffusion, noise_levels
from egat_hub.attacks.diffusion.sca import SCA, Prompts

__all__ = [
    "SCA",
    "LatentDiffusion",
    "Prompts",
    "invert",
    "load_diffusion",
    "noise_levels",
]
