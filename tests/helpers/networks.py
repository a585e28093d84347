"""Small networks that are no models of timm."""

from __future__ import annotations

from torch import nn


def small_classifier(classes: int, *, side: int = 2) -> nn.Module:
    """A convolutional network with BatchNorm and dropout; its last map has ``side`` x ``side`` positions."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Softplus(),
        nn.AdaptiveAvgPool2d(side),
        nn.Flatten(),
        nn.Linear(8 * side * side, classes),
    )
