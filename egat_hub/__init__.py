"""Image classifiers that withstand attack and show why they decide, around any timm backbone."""

from egat_hub.attacks import ATTACKS, PGD, attack_curve
from egat_hub.backbone import Backbone, create_backbone
from egat_hub.classifier import Classifier
from egat_hub.data import DataConfig, EvaluationView, TrainingView, open_dataset
from egat_hub.engine import EvaluationConfig, ModelConfig, Resources, TrainConfig, Transfer, evaluate, train
from egat_hub.explanations import EXPLANATIONS, GradCAM
from egat_hub.guides import GUIDES
from egat_hub.hub import from_pretrained, push_to_hub, save_pretrained
from egat_hub.methods import EGAT, ERM, METHODS, PGDAT, TRADES
from egat_hub.results import Row
from egat_hub.zoo import leaderboard, list_models

__all__ = [
    "ATTACKS",
    "EGAT",
    "ERM",
    "EXPLANATIONS",
    "GUIDES",
    "METHODS",
    "PGD",
    "PGDAT",
    "TRADES",
    "Backbone",
    "Classifier",
    "DataConfig",
    "EvaluationConfig",
    "EvaluationView",
    "GradCAM",
    "ModelConfig",
    "Resources",
    "Row",
    "TrainConfig",
    "TrainingView",
    "Transfer",
    "attack_curve",
    "create_backbone",
    "evaluate",
    "from_pretrained",
    "leaderboard",
    "list_models",
    "open_dataset",
    "push_to_hub",
    "save_pretrained",
    "train",
]
