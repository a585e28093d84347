"""Common corruptions of images (ImageNet-C), computed on the fly at any size."""

from egat_hub.data.corruptions.base import (
    CORRUPTIONS,
    IMAGENET_C,
    SEVERITIES,
    Corruption,
    check_severity,
    families,
    graded,
)
from egat_hub.data.corruptions.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from egat_hub.data.corruptions.canvas import LENGTHS
from egat_hub.data.corruptions.digital import (
    contrast,
    elastic_transform,
    gaussian_noise,
    impulse_noise,
    jpeg_compression,
    pixelate,
    shot_noise,
)
from egat_hub.data.corruptions.weather import brightness, fog, frost, snow

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
