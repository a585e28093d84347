"""Image classifiers that withstand attack and show why they decide, around any timm backbone.

A name is imported when it is first used, so that programs that need little of the package start fast.
"""

from typing import TYPE_CHECKING

from egat_hub.core.lazy import lazy_exports

if TYPE_CHECKING:
    from egat_hub.attacks import ATTACKS as ATTACKS
    from egat_hub.attacks import PGD as PGD
    from egat_hub.attacks import attack_curve as attack_curve
    from egat_hub.core.results import Row as Row
    from egat_hub.data import DataConfig as DataConfig
    from egat_hub.data import EvaluationView as EvaluationView
    from egat_hub.data import TrainingView as TrainingView
    from egat_hub.data import open_dataset as open_dataset
    from egat_hub.evaluation import EvaluationConfig as EvaluationConfig
    from egat_hub.evaluation import evaluate as evaluate
    from egat_hub.explanations import EXPLANATIONS as EXPLANATIONS
    from egat_hub.explanations import GUIDES as GUIDES
    from egat_hub.explanations import GradCAM as GradCAM
    from egat_hub.hub import from_pretrained as from_pretrained
    from egat_hub.hub import push_to_hub as push_to_hub
    from egat_hub.hub import save_pretrained as save_pretrained
    from egat_hub.hub.classifier import Classifier as Classifier
    from egat_hub.hub.leaderboard import leaderboard as leaderboard
    from egat_hub.hub.timm_names import register_timm_models as register_timm_models
    from egat_hub.hub.zoo import list_models as list_models
    from egat_hub.methods import EGAT as EGAT
    from egat_hub.methods import ERM as ERM
    from egat_hub.methods import METHODS as METHODS
    from egat_hub.methods import PGDAT as PGDAT
    from egat_hub.methods import TRADES as TRADES
    from egat_hub.models import TimmModel as TimmModel
    from egat_hub.models import create_model as create_model
    from egat_hub.training import ModelConfig as ModelConfig
    from egat_hub.training import Resources as Resources
    from egat_hub.training import TrainConfig as TrainConfig
    from egat_hub.training import Transfer as Transfer
    from egat_hub.training import train as train
    from egat_hub.version import __version__ as __version__
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "attacks": ("ATTACKS", "PGD", "attack_curve"),
            "core.results": ("Row",),
            "data": ("DataConfig", "EvaluationView", "TrainingView", "open_dataset"),
            "evaluation": ("EvaluationConfig", "evaluate"),
            "explanations": ("EXPLANATIONS", "GUIDES", "GradCAM"),
            "hub": ("from_pretrained", "push_to_hub", "save_pretrained"),
            "hub.classifier": ("Classifier",),
            "hub.leaderboard": ("leaderboard",),
            "hub.timm_names": ("register_timm_models",),
            "hub.zoo": ("list_models",),
            "methods": ("EGAT", "ERM", "METHODS", "PGDAT", "TRADES"),
            "models": ("TimmModel", "create_model"),
            "training": ("ModelConfig", "Resources", "TrainConfig", "Transfer", "train"),
            "version": ("__version__",),
        },
    )
