"""Metrics of explanations, sample by sample."""

from egat_hub.metrics.bootstrap import Interval, paired_bootstrap
from egat_hub.metrics.controls import CONTROLS, FILLS
from egat_hub.metrics.faithfulness import Faithfulness, Removal, Target
from egat_hub.metrics.insertion_deletion import Areas, InsertionDeletion
from egat_hub.metrics.localisation import Localisation, Located

__all__ = [
    "CONTROLS",
    "FILLS",
    "Areas",
    "Faithfulness",
    "InsertionDeletion",
    "Interval",
    "Localisation",
    "Located",
    "Removal",
    "Target",
    "paired_bootstrap",
]
