"""Figures of merit of explanations, sample by sample."""

from egat_hub.metrics.bootstrap import Interval, paired_bootstrap
from egat_hub.metrics.controls import CONTROLS
from egat_hub.metrics.faithfulness import Faithfulness, Removal
from egat_hub.metrics.fills import FILLS
from egat_hub.metrics.insertion_deletion import Areas, InsertionDeletion
from egat_hub.metrics.localisation import Localisation, Located
from egat_hub.metrics.ranking import pixel_ranks, top_region
from egat_hub.metrics.ssim import ssim
from egat_hub.metrics.stability import STABILITY
from egat_hub.metrics.target import Target

__all__ = [
    "CONTROLS",
    "FILLS",
    "STABILITY",
    "Areas",
    "Faithfulness",
    "InsertionDeletion",
    "Interval",
    "Localisation",
    "Located",
    "Removal",
    "Target",
    "paired_bootstrap",
    "pixel_ranks",
    "ssim",
    "top_region",
]
