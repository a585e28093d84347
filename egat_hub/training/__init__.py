"""The training loop, its configuration, checkpoints and logs."""

from egat_hub.training.config import Resources, TrainConfig, Transfer
from egat_hub.training.loop import Trained, train

__all__ = ["Resources", "TrainConfig", "Trained", "Transfer", "train"]
