"""Figures of a batch, sample by sample, with what defines them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Column(NamedTuple):
    """One figure and what defines it."""

    metric: str
    protocol: tuple[tuple[str, Any], ...] = ()


Columns = dict[Column, Tensor]
"""Values [B] by column; NaN where a figure is not defined for a sample."""


def column(metric: str, protocol: Mapping[str, Any]) -> Column:
    """The column of a figure with its protocol as a mapping of JSON types."""
    return Column(metric, tuple(protocol.items()))


def percent(condition: Tensor) -> Tensor:
    """100 where a condition [B] holds, else 0."""
    return 100.0 * condition.float()


def where(condition: Tensor, values: Tensor) -> Tensor:
    """Values [B] of the samples that a figure is defined for, NaN elsewhere."""
    return torch.where(condition, values.float(), torch.nan)
