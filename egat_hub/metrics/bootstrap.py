"""Paired bootstrap over test images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

CHUNK = 500


class Interval(NamedTuple):
    """A mean and its bounds."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    first: ArrayLike, second: ArrayLike, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Mean of ``first - second`` over images, and the percentile interval of its bootstrap distribution.

    Both models are compared on the same resampled images. Images with NaN in either are left out.

    Args:
        first, second: values of both models on the same images [n].
        level: probability of the interval.
        resamples, seed: number of resampled test sets, and seed of the resampling.

    Raises:
        ValueError: shapes that differ, or no image that both have a value for.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"Expected two vectors over the same images, got shapes {a.shape} and {b.shape}.")
    difference = (a - b)[~np.isnan(a - b)]
    n = len(difference)
    if n == 0:
        raise ValueError("There is no image for which both have a value.")
    chance = np.random.default_rng(seed)
    means = np.concatenate(
        [
            chance.multinomial(n, np.full(n, 1 / n), size=min(CHUNK, resamples - done)) @ difference / n
            for done in range(0, resamples, CHUNK)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(difference.mean()), float(low), float(high))
