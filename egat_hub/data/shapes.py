"""Outlines of the generated objects, as signed distances over the plane."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]


def circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 0.8


def square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.71


def triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(-y, (np.sqrt(3) * np.abs(x) + y) / 2) - 0.52


def star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Five points; each half point is the half-plane behind the edge from its tip to the next notch."""
    fifth = 2 * np.pi / 5
    angle = np.abs(np.mod(np.arctan2(x, y) + fifth / 2, fifth) - fifth / 2)
    radius = np.hypot(x, y)
    notch = 0.42 * np.array([np.cos(fifth / 2), np.sin(fifth / 2)])
    edge = notch - (1.0, 0.0)
    normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
    return normal[0] * (radius * np.cos(angle) - 1) + normal[1] * radius * np.sin(angle)


def cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.minimum(x, y) - 0.24, np.maximum(x, y) - 0.9)


SHAPES: dict[str, Shape] = {
    "circle": circle,
    "cross": cross,
    "square": square,
    "star": star,
    "triangle": triangle,
}
"""Class name to outline: negative inside, positive outside, in units of an object of about radius 1."""
