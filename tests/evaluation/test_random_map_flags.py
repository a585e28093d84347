"""When random maps raise a flag."""

from __future__ import annotations

import math

import numpy as np
import pytest

from egat_hub.core.results import Outcome, Row
from egat_hub.metrics.faithfulness import random_map_checks

SETTINGS = {"explanation": "grad_cam", "q": 0.2, "fill": "mean", "class": "predicted"}


def comp(name, values, **settings):
    protocol = {**SETTINGS, "map": name, **settings}
    row = Row(
        "net",
        "erm",
        "vlcs",
        "a",
        "a",
        "test",
        "comprehensiveness",
        float(np.nanmean(values)),
        len(values),
        0,
        protocol,
    )
    return Outcome(row, list(values))


def flags(model, random, *others):
    rows = [row for row, _ in random_map_checks([comp("model", model), comp("random", random), *others])]
    assert all(row.metric == "sanity_check" for row in rows)
    return {row.protocol["check"]: row for row in rows}


def around(mean, deviation, count=100):
    values = np.random.default_rng(0).normal(0, 1, count)
    return mean + deviation * (values - values.mean()) / values.std(ddof=1)


@pytest.mark.parametrize(
    ("mean", "deviation", "raised"),
    [
        (0.0, 10, False),
        (4.9, 1, False),  # certain, but of no account
        (5.1, 1, True),
        (-5.1, 1, True),
        (8.0, 25, True),  # 3.2 standard errors
        (8.0, 30, False),  # 2.7
    ],
)
def test_random_map_check_fails_when_comprehensiveness_is_high(mean, deviation, raised):
    row = flags(around(50, 5), around(mean, deviation))["random_maps_score_high"]
    assert row.value == 100 * raised
    assert row.n == 100
    assert row.protocol == {
        **SETTINGS,
        "check": "random_maps_score_high",
        "limit": 0.0,
        "beyond": 5.0,
        "standard_errors": 3.0,
    }


@pytest.mark.parametrize(("gain", "raised"), [(3.1, False), (2.9, True), (-20, True)])
def test_map_no_better_than_random_is_flagged(gain, raised):
    random = np.random.default_rng(1).normal(0, 40, 100)  # what both share does not count
    row = flags(random + around(gain, 10), random)["not_above_random_maps"]
    assert row.value == 100 * raised


def test_flags_use_the_first_share_and_fill_and_skip_missing_values():
    random = [0.0, 1.0, math.nan, -1.0]
    others = comp("model", [0.0] * 4, q=0.5), comp("random", [90.0] * 4, q=0.5)
    found = flags([50.0, 51.0, 52.0, math.nan], random, *others)
    assert {row.n for row in found.values()} == {2}
    assert {row.protocol["q"] for row in found.values()} == {0.2}
    assert found["random_maps_score_high"].value == 0


def test_no_flag_without_rows():
    assert random_map_checks([]) == []
    assert random_map_checks([comp("model", [1.0, 2.0])]) == []
    assert not flags([1.0], [2.0])
    assert not flags([1.0, math.nan], [2.0, 1.0])
