"""The training loop, its configuration, checkpoints and logs."""

from egat_hub.training.config import FinetuneConfig, Resources, TrainConfig
from egat_hub.training.loop import Trained, train

__all__ = ["FinetuneConfig", "Resources", "TrainConfig", "Trained", "train"]
