"""Steps under bfloat16 autocast: forwards are lowered, what needs float32 is not."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from egat_hub.methods import METHODS
from tests.helpers.methods import FAST, batch, model

PENALTIES = {"igr": "igr", "rrr": "rrr", "ign": "ign"}
"""Terms that take second derivatives."""


# The attack of TRADES starts where the divergence it maximises is as small as bfloat16's rounding.


def step(name, *, lowered: bool, device="cpu", dtype=torch.bfloat16):
    """Terms and gradients of a step."""
    fields = {field.name for field in dataclasses.fields(METHODS[name].config_class)}
    options = {key: value for key, value in {**FAST, "warmup": 0, "points": 3}.items() if key in fields}
    method = METHODS[name](model(), **options)
    with torch.autocast(device, dtype=dtype, enabled=lowered):
        out = method(*batch(), step=0)
    out["loss"].backward()
    gradient = torch.cat([p.grad.flatten() for p in method.model.parameters()])
    return out, gradient


@pytest.mark.parametrize("name", METHODS)
def test_low_precision_step_is_close_to_float32(name):
    (full, expected), (lowered, found) = step(name, lowered=False), step(name, lowered=True)
    assert lowered["loss"].isfinite()
    assert found.isfinite().all()
    assert F.cosine_similarity(found, expected, dim=0) > 0.9
    for term, value in full.items():
        if term not in ("output", "metrics"):
            atol = 0.2 if (name, term) == ("trades", "adv_kl") else 0.02
            torch.testing.assert_close(lowered[term].float(), value, rtol=0.1, atol=atol, msg=term)


@pytest.mark.parametrize(("name", "term"), PENALTIES.items())
def test_second_derivatives_stay_in_float32(name, term, monkeypatch):
    full, lowered = step(name, lowered=False)[0][term], step(name, lowered=True)[0][term]
    if name == "ign":  # its attack steps by the sign of a gradient, which must be of full precision too
        torch.testing.assert_close(lowered, full, rtol=1e-4, atol=1e-6)
    else:
        torch.testing.assert_close(lowered, full, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_through_float16_is_finite(name):
    out, gradient = step(name, lowered=True, dtype=torch.float16)
    assert out["loss"].isfinite()
    assert gradient.isfinite().all()
