"""Metrics of predictions and explanations, image by image; each is registered beside its function."""

from egat_hub.core.metric import METRICS, Metric, Section, metric_of, register
from egat_hub.metrics.accuracy import corruption_accuracy, robust_accuracy
from egat_hub.metrics.batch import EvaluationBatch, Target
from egat_hub.metrics.bootstrap import Interval, paired_bootstrap
from egat_hub.metrics.controls import CONTROLS, FILLS
from egat_hub.metrics.faithfulness import Faithfulness, Removal
from egat_hub.metrics.insertion_deletion import Areas, InsertionDeletion
from egat_hub.metrics.localisation import Localisation, Located
from egat_hub.metrics.stability import explanation_attacks, stability
from egat_hub.metrics.training_cost import step_cost

__all__ = [
    "CONTROLS",
    "FILLS",
    "METRICS",
    "Areas",
    "EvaluationBatch",
    "Faithfulness",
    "InsertionDeletion",
    "Interval",
    "Localisation",
    "Located",
    "Metric",
    "Removal",
    "Section",
    "Target",
    "corruption_accuracy",
    "explanation_attacks",
    "metric_of",
    "paired_bootstrap",
    "register",
    "robust_accuracy",
    "stability",
    "step_cost",
]
