"""Metrics of predictions and explanations, image by image; each is registered beside its function."""

from egat_hub.core.metric import METRICS, Metric, Section, metric_of, register
from egat_hub.metrics.accuracy import robust_accuracy
from egat_hub.metrics.batch import CONTROLS, FILLS, EvaluationBatch
from egat_hub.metrics.bootstrap import paired_bootstrap
from egat_hub.metrics.faithfulness import Faithfulness
from egat_hub.metrics.insertion_deletion import InsertionDeletion
from egat_hub.metrics.localisation import Localisation
from egat_hub.metrics.stability import stability
from egat_hub.metrics.training_cost import count_passes

__all__ = [
    "CONTROLS",
    "FILLS",
    "METRICS",
    "EvaluationBatch",
    "Faithfulness",
    "InsertionDeletion",
    "Localisation",
    "Metric",
    "Section",
    "count_passes",
    "metric_of",
    "paired_bootstrap",
    "register",
    "robust_accuracy",
    "stability",
]
