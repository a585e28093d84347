"""Image classifiers that withstand attack and show why they decide, around any timm backbone.

A name is imported when it is first used, so that programs that need little of the package start fast.
"""

from typing import TYPE_CHECKING

from egat_hub.after_import import after_import
from egat_hub.lazy import lazy_exports

if TYPE_CHECKING:
    from egat_hub.attacks import ATTACKS as ATTACKS
    from egat_hub.attacks import PGD as PGD
    from egat_hub.attacks import attack_curve as attack_curve
    from egat_hub.backbone import Backbone as Backbone
    from egat_hub.backbone import create_backbone as create_backbone
    from egat_hub.classifier import Classifier as Classifier
    from egat_hub.data import DataConfig as DataConfig
    from egat_hub.data import EvaluationView as EvaluationView
    from egat_hub.data import TrainingView as TrainingView
    from egat_hub.data import open_dataset as open_dataset
    from egat_hub.engine import EvaluationConfig as EvaluationConfig
    from egat_hub.engine import ModelConfig as ModelConfig
    from egat_hub.engine import Resources as Resources
    from egat_hub.engine import TrainConfig as TrainConfig
    from egat_hub.engine import Transfer as Transfer
    from egat_hub.engine import evaluate as evaluate
    from egat_hub.engine import train as train
    from egat_hub.explanations import EXPLANATIONS as EXPLANATIONS
    from egat_hub.explanations import GradCAM as GradCAM
    from egat_hub.guides import GUIDES as GUIDES
    from egat_hub.hub import from_pretrained as from_pretrained
    from egat_hub.hub import push_to_hub as push_to_hub
    from egat_hub.hub import save_pretrained as save_pretrained
    from egat_hub.methods import EGAT as EGAT
    from egat_hub.methods import ERM as ERM
    from egat_hub.methods import METHODS as METHODS
    from egat_hub.methods import PGDAT as PGDAT
    from egat_hub.methods import TRADES as TRADES
    from egat_hub.results import Row as Row
    from egat_hub.version import __version__ as __version__
    from egat_hub.zoo import leaderboard as leaderboard
    from egat_hub.zoo import list_models as list_models
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "attacks": ("ATTACKS", "PGD", "attack_curve"),
            "backbone": ("Backbone", "create_backbone"),
            "classifier": ("Classifier",),
            "data": ("DataConfig", "EvaluationView", "TrainingView", "open_dataset"),
            "engine": (
                *("EvaluationConfig", "ModelConfig", "Resources", "TrainConfig", "Transfer"),
                *("evaluate", "train"),
            ),
            "explanations": ("EXPLANATIONS", "GradCAM"),
            "guides": ("GUIDES",),
            "hub": ("from_pretrained", "push_to_hub", "save_pretrained"),
            "methods": ("EGAT", "ERM", "METHODS", "PGDAT", "TRADES"),
            "results": ("Row",),
            "version": ("__version__",),
            "zoo": ("leaderboard", "list_models"),
        },
    )


def _name_models() -> None:
    from egat_hub.zoo.timm_names import register_shipped

    register_shipped()


after_import("timm", _name_models)
