"""Evaluation of any model: one pass over a data set, one table of rows."""

from egat_hub.evaluation.batch import EvaluationConfig
from egat_hub.evaluation.evaluate import evaluate, judge
from egat_hub.evaluation.sca import judge_sca

__all__ = ["EvaluationConfig", "evaluate", "judge", "judge_sca"]
