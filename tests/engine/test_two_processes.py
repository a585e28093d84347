"""Two processes train and judge as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from egat_hub.methods import METHODS
from egat_hub.results import read_rows

from . import two_processes
from .tiny import log_of, same

TESTS = Path(__file__).parents[1]
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc_per_node", "2")
TOLERANCE = {"trades": 5e-3}
"""The attack of TRADES starts where its gradient all but vanishes: rounding decides some of its signs."""
LOCAL = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What one process and each of two left behind."""
    folder = tmp_path_factory.mktemp("two")
    done = subprocess.run(
        [sys.executable, *LAUNCH, "-m", "engine.two_processes", str(folder)],
        cwd=TESTS,
        env={**os.environ, **LOCAL},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    two_processes.main(folder)
    return folder


@pytest.mark.parametrize("name", [*METHODS, "batchnorm"])
def test_both_processes_have_the_same_weights_statistics_and_validations(folder, name):
    first, second = (load_file(folder / f"2_{rank}_{name}.safetensors") for rank in (0, 1))
    first.pop("partners", None)
    second.pop("partners", None)
    assert same(first, second)
    rows = [read_rows(folder / f"2_{rank}_{name}.json") for rank in (0, 1)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 10


def test_partners_are_found_in_the_batch_of_the_other_process(folder):
    two = [load_file(folder / f"2_{rank}_egat.safetensors")["partners"] for rank in (0, 1)]
    assert (two[0] > 3).any()
    assert (two[1] < 4).any()
    assert torch.equal(torch.cat(two, dim=1), load_file(folder / "1_0_egat.safetensors")["partners"])


@pytest.mark.parametrize("name", METHODS)
def test_the_trajectory_is_that_of_one_process_on_the_joined_batch(folder, name):
    two, one = (load_file(folder / f"{world}_0_{name}.safetensors") for world in (2, 1))
    two.pop("partners", None)
    one.pop("partners", None)
    moved = (one["4 net.fc.weight"] - one["0 net.fc.weight"]).abs().max()
    assert moved > 1e-3
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=TOLERANCE.get(name, 1e-5), rtol=0, msg=key)
    losses = [[li["loss"] for li in log_of(folder / f"{world}_{name}")[0]] for world in (2, 1)]
    assert losses[0] == pytest.approx(losses[1], abs=10 * TOLERANCE.get(name, 1e-5))


@pytest.mark.parametrize("count", two_processes.ODD)
def test_every_figure_is_that_of_one_process(folder, count):
    one = read_rows(folder / f"1_0_rows{count}.json")
    assert {row.n for row in one if row.metric == "cAcc"} == {count}
    for rank in (0, 1):
        assert read_rows(folder / f"2_{rank}_rows{count}.json") == one


def test_one_process_goes_on_where_two_stopped(folder):
    assert len(list((folder / "journal").glob("*.json"))) == 14
    assert len(list((folder / "journal" / "signs").iterdir())) == 2
    one = read_rows(folder / "1_0_journal.json")
    assert {row.n for row in one if row.metric == "aAcc"} == {70}
    for rank in (0, 1):
        assert read_rows(folder / f"2_{rank}_journal.json") == one
