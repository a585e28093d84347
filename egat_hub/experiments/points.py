"""A method at one value of the weight that buys robustness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from egat_hub.results import Summary


@dataclass(frozen=True)
class Point:
    """A point of a front.

    Attributes:
        method: name of the method.
        name: as tables call the point.
        field: name of the field that was swept; empty for a method without one.
        weight: its value, or None.
        default: whether it is the setting that a run has unless told otherwise.
        figures: mean and deviation over seeds of cAcc, aAcc and, where measured, Comp and Suff.
    """

    method: str
    name: str
    field: str
    weight: float | None
    default: bool
    figures: Mapping[str, Summary]

    def dominates(self, other: Point) -> bool:
        """Whether both clean and robust accuracy are higher on average."""
        return all(self.figures[name].mean > other.figures[name].mean for name in ("cAcc", "aAcc"))
