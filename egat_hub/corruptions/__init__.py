"""Common corruptions of images, made on the fly at any size."""

from egat_hub.corruptions.base import CORRUPTIONS, SEVERITIES, Corruption, check_severity, graded
from egat_hub.corruptions.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from egat_hub.corruptions.canvas import LENGTHS
from egat_hub.corruptions.digital import contrast, jpeg_compression, pixelate
from egat_hub.corruptions.elastic import elastic_transform
from egat_hub.corruptions.families import IMAGENET_C, families
from egat_hub.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from egat_hub.corruptions.weather import brightness, fog, frost, snow

__all__ = [
    "CORRUPTIONS",
    "IMAGENET_C",
    "LENGTHS",
    "SEVERITIES",
    "Corruption",
    "brightness",
    "check_severity",
    "contrast",
    "defocus_blur",
    "elastic_transform",
    "families",
    "fog",
    "frost",
    "gaussian_noise",
    "glass_blur",
    "graded",
    "impulse_noise",
    "jpeg_compression",
    "motion_blur",
    "pixelate",
    "shot_noise",
    "snow",
    "zoom_blur",
]
