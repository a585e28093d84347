"""Metrics of predictions and explanations, image by image; each is registered beside its function."""

from egat_hub.metrics.accuracy import corruption_accuracy, robust_accuracy
from egat_hub.metrics.batch import EvaluationBatch, Target
from egat_hub.metrics.bootstrap import Interval, paired_bootstrap
from egat_hub.metrics.controls import CONTROLS, FILLS
from egat_hub.metrics.faithfulness import Faithfulness, Removal
from egat_hub.metrics.insertion_deletion import Areas, InsertionDeletion
from egat_hub.metrics.localisation import Localisation, Located
from egat_hub.metrics.stability import explanation_attacks, stability

__all__ = [
    "CONTROLS",
    "FILLS",
    "Areas",
    "EvaluationBatch",
    "Faithfulness",
    "InsertionDeletion",
    "Interval",
    "Localisation",
    "Located",
    "Removal",
    "Target",
    "corruption_accuracy",
    "explanation_attacks",
    "paired_bootstrap",
    "robust_accuracy",
    "stability",
]
