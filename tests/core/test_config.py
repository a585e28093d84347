"""Configs survive the way through JSON, and their digest follows their content."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egat_hub.attacks import PGD
from egat_hub.core.config import digest, from_dict, non_default, to_dict
from egat_hub.methods import EGATConfig
from egat_hub.training import TrainConfig


@dataclasses.dataclass(frozen=True)
class Optimiser:
    name: str = "adamw"
    rate: float = 1e-4
    betas: tuple[float, ...] = (0.9, 0.999)


@dataclasses.dataclass(frozen=True)
class Run:
    steps: int = 100
    optimiser: Optimiser = dataclasses.field(default_factory=Optimiser)
    fallback: Optimiser | None = None
    domains: tuple[str, ...] | None = None
    amp: bool = False
    note: str | None = None


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
OPTIMISERS = st.builds(Optimiser, st.text(), NUMBERS, st.lists(NUMBERS).map(tuple))
RUNS = st.builds(
    Run,
    steps=st.integers(),
    optimiser=OPTIMISERS,
    fallback=st.none() | OPTIMISERS,
    domains=st.none() | st.lists(st.text()).map(tuple),
    amp=st.booleans(),
    note=st.none() | st.text(),
)


@settings(deadline=None)
@given(RUNS)
def test_round_trip(run):
    assert from_dict(Run, to_dict(run)) == run
    assert from_dict(Run, json.loads(json.dumps(to_dict(run)))) == run


@settings(deadline=None)
@given(RUNS)
def test_dict_holds_json_types_only(run):
    values = to_dict(run)
    assert json.loads(json.dumps(values)) == values


@settings(deadline=None)
@given(RUNS, RUNS)
def test_digests_agree_exactly_where_contents_do(one, other):
    same = json.dumps(to_dict(one)) == json.dumps(to_dict(other))
    assert (digest(one) == digest(other)) == same
    assert digest(one) == digest(dataclasses.replace(one))


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 101},
        {"amp": True},
        {"note": ""},
        {"domains": ()},
        {"fallback": Optimiser()},
        {"optimiser": Optimiser(betas=(0.999, 0.9))},
    ],
)
def test_every_field_counts_for_the_digest(change):
    assert digest(dataclasses.replace(Run(), **change)) != digest(Run())


def test_digest_is_the_same_in_every_process():
    script = (
        "from egat_hub.core.config import digest; print(digest({'b': [1, 2.5], 'a': {'x': None, 'y': 'ä'}}))"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert there.strip() == digest({"a": {"y": "ä", "x": None}, "b": [1, 2.5]})


def test_digest_of_known_content_never_changes():
    assert digest({"model": "resnet50", "seed": 0}) == "1814ec9428"


def test_digest_of_a_config_is_that_of_its_dict():
    assert digest(Run()) == digest(to_dict(Run()))


def test_a_field_at_its_default_is_no_part_of_the_identity():
    assert non_default(Run()) == {}
    assert non_default(Run(steps=3, optimiser=Optimiser(rate=1.0), domains=("a",))) == {
        "steps": 3,
        "optimiser": {"rate": 1.0},
        "domains": ["a"],
    }
    assert non_default(Run(fallback=Optimiser())) == {"fallback": {}}
    fields = [(f.name, f.type, f) for f in dataclasses.fields(Run)]
    later = dataclasses.make_dataclass(
        "Run", [*fields, ("added", int, dataclasses.field(default=0))], frozen=True
    )
    assert non_default(later(steps=3)) == non_default(Run(steps=3))
    assert non_default(later(steps=3, added=1)) != non_default(Run(steps=3))


def test_missing_fields_take_their_defaults():
    assert from_dict(Run, {"optimiser": {"rate": 0.1}}) == Run(optimiser=Optimiser(rate=0.1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, "Run has no stepz. Known: amp, domains, fallback, note, optimiser, steps."),
        ({"b": 1, "a": 2}, "Run has no a, b."),
        ({"optimiser": {"lr": 1}}, "Optimiser has no lr. Known: betas, name, rate."),
        ({"fallback": {"lr": 1}}, "Optimiser has no lr."),
    ],
)
def test_unknown_keys_are_named_beside_the_known_ones(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Run, values)


def test_values_are_not_shared_with_the_config():
    run = Run(domains=("a",))
    to_dict(run)["optimiser"]["rate"] = 5
    assert run.optimiser.rate == 1e-4


@pytest.mark.parametrize(
    "build",
    [
        lambda: EGATConfig(mixup_pairs="some"),  # type: ignore[arg-type]
        lambda: EGATConfig(views="both"),  # type: ignore[arg-type]
        lambda: PGD(start="middle"),  # type: ignore[arg-type]
        lambda: TrainConfig(mixed_precision="fp8"),  # type: ignore[arg-type]
    ],
)
def test_value_outside_its_choices_raises(build):
    with pytest.raises(ValueError, match=r"Expected .* among '.*', got '.*'"):
        build()
