"""Does faithfulness mean anything here? What random maps score says so."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

from egat_hub.results import FLAG, Outcome

MATERIAL = 5.0
"""Comp, in points, that is too much for a random map."""
STANDARD_ERRORS = 3.0
"""Distance from 0 at which a mean over images is believed to differ from it."""

CAUTIONS = {
    "random_map_has_comp": "random maps have a Comp of their own, beside which that of the model counts",
    "comp_not_above_random": "Comp of the maps is not shown to be higher than that of random ones",
}
"""Names of the flags, and what to tell a reader where one is raised."""


def control_flags(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Rows of metric ``Flag``, 100 where it is raised and else 0, about the first Comp that was measured.

    - ``random_map_has_comp``: the Comp of random maps differs from 0 by more than 5 points and 3 standard
      errors. Then Comp is in part what any removed pixels do to the model, and counts only in comparison.
    - ``comp_not_above_random``: the model's maps are not better than random ones by 3 standard errors of
      the difference on the same images. Then there is no evidence that they explain anything.

    Without at least two images that both maps have a value for, there is no row.

    Args:
        outcomes: of one model on one data set.
    """
    comps = [outcome for outcome in outcomes if outcome.row.metric == "Comp"]
    model = next((outcome for outcome in comps if outcome.row.protocol["map"] == "model"), None)
    if model is None:
        return []
    expected = {**model.row.protocol, "map": "random"}
    control = next((outcome for outcome in comps if outcome.row.protocol == expected), None)
    return [] if control is None else list(_flags(model, control))


def _flags(model: Outcome, control: Outcome) -> Iterator[Outcome]:
    both = zip(model.values, control.values, strict=True)
    pairs = [(mine, other) for mine, other in both if not math.isnan(mine + other)]
    if len(pairs) < 2:
        return
    gain = [mine - other for mine, other in pairs]
    random = [other for _, other in pairs]
    settings = {name: value for name, value in model.row.protocol.items() if name != "map"}
    raised: dict[str, tuple[bool, dict[str, Any]]] = {
        "random_map_has_comp": (
            abs(fmean(random)) > max(MATERIAL, STANDARD_ERRORS * _error(random)),
            {"beyond": MATERIAL},
        ),
        "comp_not_above_random": (fmean(gain) <= STANDARD_ERRORS * _error(gain), {}),
    }
    for name, (value, limits) in raised.items():
        protocol = {"flag": name, "limit": 0.0, **settings, **limits, "standard_errors": STANDARD_ERRORS}
        row = replace(model.row, metric=FLAG, value=100.0 * value, n=len(pairs), protocol=protocol)
        yield Outcome(row, [row.value])


def _error(values: Sequence[float]) -> float:
    """Standard error of the mean."""
    return stdev(values) / math.sqrt(len(values))
