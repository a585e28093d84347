"""A compiled run is the plain run up to rounding, and is judged as stored."""

from __future__ import annotations

import functools

import pytest
import torch

from .tiny import fit, log_of, method, network


@pytest.fixture
def counted(monkeypatch):
    """Graphs that were compiled, by a compiler that is quick and exact."""
    torch._dynamo.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return torch._dynamo.backends.debugging.aot_eager(graph, inputs)

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    yield graphs
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["erm", "pgd_at", "trades", "egat", "sgdrop", "dre", "egat on convnext"])
def test_a_compiled_run_is_the_plain_run(tmp_path, counted, name):
    name, *others = name.split(" on ")

    def made():
        return method(name, network("test_convnext"), head_grad=True) if others else method(name)

    plain = fit(made(), tmp_path / "plain", ema_decay=0.5)
    assert not counted
    fast = fit(made(), tmp_path / "fast", ema_decay=0.5, compile=True)
    assert 1 <= len(counted) <= 4, "compiled again and again"
    for ours, theirs in zip(*(log_of(tmp_path / run)[0] for run in ("fast", "plain")), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
    found, expected = fast.backbone.state_dict(), plain.backbone.state_dict()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-2, atol=1e-3)


def test_nothing_compiled_is_left_over(tmp_path, counted):
    trained = fit(method("egat"), tmp_path, compile=True)
    assert "features" not in vars(trained.backbone)
    count = len(counted)
    with torch.no_grad():
        trained.backbone(torch.rand(3, 3, 32, 32))
    assert len(counted) == count


@pytest.mark.parametrize("name", ["igr", "rrr", "ign"])
def test_second_derivatives_are_refused_before_the_first_step(tmp_path, counted, name):
    with pytest.raises(ValueError, match=r"second derivatives .* Leave out train\.compile"):
        fit(method(name), tmp_path, compile=True)
    assert not counted
    assert log_of(tmp_path)[0] == []


def test_inductor_compiles_a_run(tmp_path):
    plain = fit(method("pgd_at"), tmp_path / "plain", steps=2)
    fast = fit(method("pgd_at"), tmp_path / "fast", steps=2, compile=True)
    for key, value in plain.backbone.state_dict().items():
        torch.testing.assert_close(fast.backbone.state_dict()[key], value, rtol=1e-2, atol=1e-3)
