"""Background patterns of the generated images: the cue that gives a class away."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]

_CYCLES = 8
"""Periods per image side."""


def _wave(phase: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * _CYCLES * phase)


def lying(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _wave(y)


def standing(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _wave(x)


def slanted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _wave((x + y) / np.sqrt(2))


def checks(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(2) * _wave(x) * _wave(y)


def ripples(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _wave(np.hypot(x, y))


PATTERNS: tuple[Pattern, ...] = (lying, standing, slanted, checks, ripples)
"""One a class: ``(x, y)`` in image sides from a random origin to brightness of unit power, about [-1,1]."""
