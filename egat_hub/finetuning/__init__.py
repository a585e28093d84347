"""Fine-tuning: a model that is there, new images, and what became of it."""

from egat_hub.finetuning.preparing import Ready, Request, prepare
from egat_hub.finetuning.running import Tuned, run

__all__ = ["Ready", "Request", "Tuned", "prepare", "run"]
