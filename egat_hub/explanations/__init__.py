"""Saliency maps for training and for evaluation."""

from egat_hub.explanations.base import EXPLANATIONS, Explanation
from egat_hub.explanations.enlarge import enlarge
from egat_hub.explanations.finer_cam import FinerCAM
from egat_hub.explanations.grad_cam import GradCAM
from egat_hub.explanations.input_gradient import InputGradient
from egat_hub.explanations.integrated_gradients import IntegratedGradients
from egat_hub.explanations.normalize import NORMALIZATIONS, dead
from egat_hub.explanations.smooth_grad import SmoothGrad

__all__ = [
    "EXPLANATIONS",
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
