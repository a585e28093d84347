"""Evaluation of any model: one pass over a data set, one table of rows."""

from egat_hub.evaluation.config import EvaluationConfig
from egat_hub.evaluation.dataset import evaluate, evaluate_per_image

__all__ = ["EvaluationConfig", "evaluate", "evaluate_per_image"]
