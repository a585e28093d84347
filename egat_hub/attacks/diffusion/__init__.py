"""Attacks in the latent space of a diffusion model (extra ``sca``)."""

from egat_hub.attacks.diffusion.inversion import Inversion, Prompts, invert
from egat_hub.attacks.diffusion.model import LatentDiffusion, NoiseLevels, load_diffusion, noise_levels
from egat_hub.attacks.diffusion.sca import SCA

__all__ = [
    "SCA",
    "Inversion",
    "LatentDiffusion",
    "NoiseLevels",
    "Prompts",
    "invert",
    "load_diffusion",
    "noise_levels",
]
