"""Several processes train and evaluate as one does, also with parameters that are sharded over them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from egat_hub.core.results import read_rows
from egat_hub.methods import METHODS
from tests.helpers.training import log_of, same
from tests.training import several_processes
from tests.training.several_processes import FEW, SETTINGS, SHARDED

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc_per_node")
TOLERANCE = {"trades": 5e-3}
"""The attack of TRADES starts where its gradient all but vanishes: rounding decides some of its signs."""
LOCAL = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What one process, each of two and each of four left behind."""
    folder = tmp_path_factory.mktemp("several")
    for count in ("2", "4"):
        done = subprocess.run(
            [sys.executable, *LAUNCH, count, "-m", "tests.training.several_processes", str(folder)],
            cwd=ROOT,
            env={**os.environ, **LOCAL},
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stderr[-4000:]
    several_processes.main(folder)
    return folder


@pytest.mark.parametrize("name", SETTINGS)
def test_both_processes_have_the_same_weights_statistics_and_validations(folder, name):
    first, second = (load_file(folder / f"2_{rank}_{name}.safetensors") for rank in (0, 1))
    first.pop("partners", None)
    second.pop("partners", None)
    assert same(first, second)
    rows = [read_rows(folder / f"2_{rank}_{name}.json") for rank in (0, 1)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 10


@pytest.mark.parametrize("name", FEW)
def test_four_processes_have_the_same_weights(folder, name):
    first, *others = (load_file(folder / f"4_{rank}_{name}.safetensors") for rank in range(4))
    for other in others:
        assert same(*({k: v for k, v in s.items() if k != "partners"} for s in (first, other)))


@pytest.mark.parametrize("name", SHARDED)
def test_sharding_does_not_change_the_result(folder, name):
    """Not even the statistics of BatchNorm, the average of the weights, or the clipped gradient."""
    for rank in (0, 1):
        whole, shards = (load_file(folder / f"{p}2_{rank}_{name}.safetensors") for p in ("", "sharded"))
        assert whole.keys() == shards.keys()
        for key, value in whole.items():
            torch.testing.assert_close(shards[key], value, atol=1e-6, rtol=0, msg=key)


def test_plain_timm_loads_what_was_trained_in_shards(folder):
    net = timm.create_model(f"local-dir:{folder / 'exported'}", pretrained=True)
    trained = load_file(folder / "whole.safetensors")
    assert same(net.state_dict(), {name.removeprefix("net."): value for name, value in trained.items()})


def test_mixing_partners_come_from_all_processes(folder):
    two = [load_file(folder / f"2_{rank}_egat.safetensors")["partners"] for rank in (0, 1)]
    assert (two[0] > 3).any()
    assert (two[1] < 4).any()
    assert torch.equal(torch.cat(two, dim=1), load_file(folder / "1_0_egat.safetensors")["partners"])


@pytest.mark.parametrize(
    ("count", "name"),
    [*((2, name) for name in (*METHODS, "accumulated", "compiled")), *((4, name) for name in FEW)],
)
def test_two_processes_equal_one_on_the_whole_batch(folder, count, name):
    two, one = (load_file(folder / f"{world}_0_{name}.safetensors") for world in (count, 1))
    two.pop("partners", None)
    one.pop("partners", None)
    moved = (one["4 net.fc.weight"] - one["0 net.fc.weight"]).abs().max()
    assert moved > 1e-3
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=TOLERANCE.get(name, 1e-5), rtol=0, msg=key)
    losses = [[li["loss"] for li in log_of(folder / f"{world}_{name}")[0]] for world in (count, 1)]
    assert losses[0] == pytest.approx(losses[1], abs=10 * TOLERANCE.get(name, 1e-5))


def test_run_resumes_with_another_number_of_processes(folder):
    """Begun by two, gone on with by four, ended by one: as if one had done it all."""
    log, _ = log_of(folder / "handed_over")
    assert [line["step"] for line in log] == [1, 2, 3, 4]
    whole, handed = (load_file(folder / f"{name}.safetensors") for name in ("1_0_egat", "handed_over"))
    for key, value in handed.items():
        torch.testing.assert_close(value, whole[f"best {key}"], atol=1e-5, rtol=0, msg=key)


@pytest.mark.parametrize("count", several_processes.ODD)
def test_evaluation_equals_that_of_one_process(folder, count):
    one = read_rows(folder / f"1_0_rows{count}.json")
    assert {row.n for row in one if row.metric == "clean_accuracy"} == {count}
    for rank in (0, 1):
        assert read_rows(folder / f"2_{rank}_rows{count}.json") == one


def test_one_process_resumes_an_evaluation_of_two(folder):
    assert len(list((folder / "journal").glob("*.json"))) == 14
    assert len(list((folder / "journal" / "checks").iterdir())) == 2
    one = read_rows(folder / "1_0_journal.json")
    assert {row.n for row in one if row.metric == "robust_accuracy"} == {70}
    for rank in (0, 1):
        assert read_rows(folder / f"2_{rank}_journal.json") == one
