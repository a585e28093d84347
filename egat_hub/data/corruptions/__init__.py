"""Common corruptions of images (ImageNet-C), computed on the fly at any size."""

from egat_hub.data.corruptions import blur, digital, weather  # registers the corruptions
from egat_hub.data.corruptions.base import (
    CORRUPTIONS,
    IMAGENET_C,
    SEVERITIES,
    Corruption,
    check_severity,
    corruption,
    families,
)
from egat_hub.data.corruptions.canvas import LENGTHS

__all__ = [
    "CORRUPTIONS",
    "IMAGENET_C",
    "LENGTHS",
    "SEVERITIES",
    "Corruption",
    "blur",
    "check_severity",
    "corruption",
    "digital",
    "families",
    "weather",
]
