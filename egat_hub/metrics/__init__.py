"""Figures of merit of explanations, sample by sample."""

from egat_hub.metrics.bootstrap import Interval, paired_bootstrap
from egat_hub.metrics.controls import CONTROLS
from egat_hub.metrics.faithfulness import Faithfulness, top_region
from egat_hub.metrics.fills import FILLS
from egat_hub.metrics.stability import STABILITY

__all__ = ["CONTROLS", "FILLS", "STABILITY", "Faithfulness", "Interval", "paired_bootstrap", "top_region"]
