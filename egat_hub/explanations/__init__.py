"""Saliency maps for training and for evaluation."""

from egat_hub.explanations.base import EXPLANATIONS, Explanation
from egat_hub.explanations.grad_cam import GradCAM
from egat_hub.explanations.normalize import NORMALIZATIONS, dead

__all__ = ["EXPLANATIONS", "NORMALIZATIONS", "Explanation", "GradCAM", "dead"]
