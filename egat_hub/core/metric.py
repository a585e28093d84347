"""Metrics: a record for each, and values for a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from egat_hub.core.registry import Registry

Better = Literal["higher", "lower"]


class Key(NamedTuple):
    """A metric's name and the settings it was measured with, of JSON types."""

    metric: str
    protocol: tuple[tuple[str, Any], ...] = ()


Values = dict[Key, Tensor]
"""Values [B] of a batch; NaN where a metric is undefined."""


@dataclass(frozen=True)
class Section:
    """Metrics that are read together in model cards.

    Attributes:
        title: heading.
        about: how to read them.
        across: setting of the protocol whose values get columns side by side.
    """

    title: str
    about: str = ""
    across: str = ""


OTHER = Section("Other metrics")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric and its presentation.

    Attributes:
        name: name in result rows, in snake case.
        title: column heading in tables.
        about: description, without a full stop.
        section: section of model cards.
        better: which values are better, if any.
        digits: digits shown after the decimal point.
        table: experiment table with a column for it: ``"results"``, one of explanations, or none.
        headline: whether leaderboards and Hub metadata show it.
        shown: settings of the protocol that choose the rows of that column; None if a setting is absent.
        control: the same for a control column beside it.
        columns: setting of the protocol with a column for each of its values.
        hub_type: type in Hub metadata; by default the name.
        measure: function of an :class:`~egat_hub.metrics.EvaluationBatch`; None if measured with other
            metrics.
    """

    name: str
    title: str
    about: str
    section: Section = OTHER
    better: Better | None = None
    digits: int = 1
    table: str = ""
    headline: bool = False
    shown: Mapping[str, Any] = field(default_factory=dict)
    control: Mapping[str, Any] = field(default_factory=dict)
    columns: str = ""
    hub_type: str = ""
    measure: Callable[[Any], Values] | None = None

    def shows(self, protocol: Mapping[str, Any]) -> bool:
        """Whether a row with this protocol is the metric itself, not a control or a part."""
        return all(protocol.get(setting) == value for setting, value in self.shown.items())

    @property
    def meaning(self) -> str:
        """Description, and which values are better."""
        return f"{self.about}; {self.better} is better" if self.better else self.about


class _Metrics(Registry[Metric]):
    def __iter__(self) -> Iterator[str]:
        """Names in the order in which metrics are shown."""
        self._load_entry_points()
        return iter(self._items)


METRICS = _Metrics("metrics")


def register(*metrics: Metric) -> None:
    """Add metrics, which tables, model cards and leaderboards then show."""
    for metric in metrics:
        METRICS.register(metric.name)(metric)


def metric_of(name: str) -> Metric:
    """The record of a metric; for an unregistered one, a record with its name."""
    return METRICS[name] if name in METRICS else Metric(name=name, title=name, about="not registered")


def key(metric: str, protocol: Mapping[str, Any]) -> Key:
    """Key of a metric measured with a protocol."""
    return Key(metric, tuple(protocol.items()))


def percent(condition: Tensor) -> Tensor:
    """100 where a condition [B] holds, else 0."""
    return 100.0 * condition.float()


def where(condition: Tensor, values: Tensor) -> Tensor:
    """Values [B] where a metric is defined, NaN elsewhere."""
    return torch.where(condition, values.float(), torch.nan)


def is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the largest of the logits [B,C] is that of the label [B]; never where a logit is not finite."""
    return (logits.argmax(1) == labels) & logits.isfinite().all(1)
