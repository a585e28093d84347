"""Training, evaluation and experiments, on one process or many."""

from egat_hub.engine.config import ModelConfig, Resources, TrainConfig
from egat_hub.engine.evaluation import evaluate, judge
from egat_hub.engine.judging_sca import judge_sca
from egat_hub.engine.measuring import EvaluationConfig
from egat_hub.engine.training import Trained, train
from egat_hub.engine.transfer import Transfer

__all__ = [
    "EvaluationConfig",
    "ModelConfig",
    "Resources",
    "TrainConfig",
    "Trained",
    "Transfer",
    "evaluate",
    "judge",
    "judge_sca",
    "train",
]
