"""Figures of a paper, to stand beside our own."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

Pair = tuple[str, str]
"""Training domain and test domain."""


@dataclass(frozen=True)
class Published:
    """Published figures by method, training domain, test domain and metric.

    Attributes:
        values: the figures.
    """

    values: Mapping[tuple[str, str, str, str], float] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: Iterable[Path], dataset: str) -> Published:
        """The figures of one data set.

        Args:
            paths: CSV files (dataset, method, train_domain, test_domain, metric, value).
            dataset: name of the data set.
        """
        lines = [line for path in paths for line in csv.DictReader(path.read_text().splitlines())]
        return cls(
            {
                (line["method"], line["train_domain"], line["test_domain"], line["metric"]): float(
                    line["value"]
                )
                for line in lines
                if line["dataset"] == dataset
            }
        )

    def mean(self, method: str, pairs: Sequence[Pair], metric: str) -> float | None:
        """Mean over pairs of domains, or None unless there is a figure for every one of them."""
        found = [self.values.get((method, *pair, metric)) for pair in pairs]
        known = [value for value in found if value is not None]
        return fmean(known) if known and len(known) == len(found) else None

    def suspect(self, method: str, pairs: Iterable[Pair]) -> bool:
        """Whether an accuracy is repeated when training and test domain are exchanged.

        Two networks that were trained apart do not agree to the last digit; the EGAT paper's Table II has
        six such pairs of DRE and six of SGDrop, and of no other method.
        """
        return any(
            train != test
            and (value := self.values.get((method, train, test, "cAcc"))) is not None
            and value == self.values.get((method, test, train, "cAcc"))
            for train, test in pairs
        )
