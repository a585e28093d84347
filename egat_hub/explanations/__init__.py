"""Saliency maps for training and for evaluation."""

from egat_hub.explanations.base import EXPLANATIONS, NORMALIZATIONS, Explanation, dead, enlarge
from egat_hub.explanations.class_activation import FinerCAM, GradCAM
from egat_hub.explanations.gradients import InputGradient, IntegratedGradients, SmoothGrad
from egat_hub.explanations.guides import GUIDES

__all__ = [
    "EXPLANATIONS",
    "GUIDES",
    "NORMALIZATIONS",
    "Explanation",
    "FinerCAM",
    "GradCAM",
    "InputGradient",
    "IntegratedGradients",
    "SmoothGrad",
    "dead",
    "enlarge",
]
