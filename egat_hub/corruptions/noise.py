"""Noise of the sensor: every value of every pixel by itself, at any image size."""

from __future__ import annotations

from torch import Tensor

from egat_hub.corruptions.base import CORRUPTIONS, graded
from egat_hub.randomness import SampleRandom


@CORRUPTIONS.register("gaussian_noise")
@graded(0.08, 0.12, 0.18, 0.26, 0.38)
def gaussian_noise(images: Tensor, random: SampleRandom, deviation: float) -> Tensor:
    """Normal noise, as in poor light."""
    return images + deviation * random.normal(images, "gaussian_noise")


@CORRUPTIONS.register("shot_noise")
@graded(60.0, 25.0, 12.0, 5.0, 3.0)
def shot_noise(images: Tensor, random: SampleRandom, photons: float) -> Tensor:
    """Poisson noise of counting few photons, of which a value of 1 stands for ``photons``."""
    return random.poisson(images * photons, "shot_noise") / photons


@CORRUPTIONS.register("impulse_noise")
@graded(0.03, 0.06, 0.09, 0.17, 0.27)
def impulse_noise(images: Tensor, random: SampleRandom, share: float) -> Tensor:
    """Salt and pepper: a share of the values becomes 0 or 1, each as likely."""
    chance = random.uniform(images, 0, 1, "impulse_noise")
    salted = images.masked_fill(chance < share / 2, 1.0)
    return salted.masked_fill(chance > 1 - share / 2, 0.0)
