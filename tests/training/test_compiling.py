"""A compiled run is the plain run up to rounding, and is evaluated as stored."""

from __future__ import annotations

import functools
import shutil

import pytest
import timm
import torch

from egat_hub.models.cuda_graphs import check_capturable
from egat_hub.training import TrainConfig
from tests.helpers.training import fit, method, network


def apart(ours, theirs, start):
    """How far weights of two runs are from each other, over how far they have come."""
    ours, theirs, start = (
        torch.cat([p.detach().flatten() for p in model.parameters()]) for model in (ours, theirs, start)
    )
    assert (theirs - start).norm() > 0.01
    return ((ours - theirs).norm() / (theirs - start).norm()).item()


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


@pytest.mark.parametrize("name", ["erm", "trades", "egat", "sgdrop", "egat on convnext"])
def test_compiled_run_equals_eager_run(tmp_path, counted, name):
    name, *others = name.split(" on ")

    def made():
        return method(name, network("test_convnext"), head_grad=True) if others else method(name)

    plain = fit(made(), tmp_path / "plain", ema_decay=0.5, selection="last")
    assert not counted
    fast = fit(made(), tmp_path / "fast", ema_decay=0.5, selection="last", compile=True)
    assert 1 <= len(counted) <= 4, "compiled again and again"
    assert apart(fast.model, plain.model, made().model) < 0.05


def test_network_is_not_compiled_after_training(tmp_path, counted):
    trained = fit(method("egat"), tmp_path, compile=True)
    assert "features" not in vars(trained.model)
    count = len(counted)
    with torch.no_grad():
        trained.model(torch.rand(3, 3, 32, 32))
    assert len(counted) == count


@pytest.mark.parametrize("name", ["igr", "rrr", "ign"])
def test_second_derivatives_raise_before_the_first_step(tmp_path, counted, name):
    with pytest.raises(ValueError, match=r"second derivatives .* Leave out train\.compile"):
        fit(method(name), tmp_path, compile=True)
    assert not counted
    assert not (tmp_path / "log.jsonl").exists()


def test_recompile_limit_applies_per_run(tmp_path, counted):
    for run in range(6):
        before = len(counted)
        fit(method("trades"), tmp_path / str(run), steps=2, compile=True)
        assert len(counted) > before, f"run {run} was not compiled"


def test_a_finished_run_is_resumed(tmp_path, counted):
    first, again = (fit(method(), tmp_path, compile=True, selection="last") for _ in range(2))
    assert apart(first.model, again.model, network()) == 0


@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler on CPUs"
)
def test_inductor_compiles_a_run(tmp_path):
    settings = {"steps": 3, "selection": "last", "optimizer": "sgd", "lr": 0.1}
    plain = fit(method(), tmp_path / "plain", **settings)
    fast = fit(method(), tmp_path / "fast", compile=True, **settings)
    assert apart(fast.model, plain.model, network()) < 0.05


def test_cuda_graphs_need_a_gpu_for_methods_that_attack(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match=r"CUDA graphs need a CUDA device, got cpu\. Leave out"):
        fit(method("egat"), tmp_path / "egat", cuda_graphs=True)
    assert not (tmp_path / "egat" / "log.jsonl").exists()
    fit(method("erm"), tmp_path / "erm", cuda_graphs=True)


def test_networks_with_cached_biases_are_not_captured():
    levit = timm.create_model("levit_128s", num_classes=3)
    with pytest.raises(ValueError, match="caches attention biases"):
        check_capturable(levit, torch.device("cuda"))


def test_compiling_and_cuda_graphs_exclude_each_other():
    with pytest.raises(ValueError, match="not both"):
        TrainConfig(compile=True, cuda_graphs=True)
