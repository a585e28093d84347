"""Attacks in the latent space of a diffusion model (extra ``sca``)."""

from egat_hub.diffusion.inversion import Inversion, invert
from egat_hub.diffusion.levels import NoiseLevels, noise_levels
from egat_hub.diffusion.loading import load_diffusion
from egat_hub.diffusion.model import LatentDiffusion
from egat_hub.diffusion.prompts import Prompts
from egat_hub.diffusion.sca import SCA
from egat_hub.diffusion.unrestricted import Unrestricted

__all__ = [
    "SCA",
    "Inversion",
    "LatentDiffusion",
    "NoiseLevels",
    "Prompts",
    "Unrestricted",
    "invert",
    "load_diffusion",
    "noise_levels",
]
