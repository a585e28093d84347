"""Sweeps on Ray and Slurm: every run once, dead workers replaced, killed runs resumed."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from egat_hub.core.results import read_rows
from egat_hub.experiments import ExecutorConfig, executors, sweep
from egat_hub.experiments.executors import Job, on_slurm
from egat_hub.experiments.starting import resolve
from tests.experiments.tiny import call_vlcs, tiny

ROOT = Path(__file__).parents[2]
LOGGED = ("--resources.checkpoint_every", "2", "--resources.log_every", "1")
GRID = ("--methods", "erm", "egat", "--train.steps", "40", *LOGGED)


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of two CPUs on this machine, for this module."""
    ray = pytest.importorskip("ray")
    environment = {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'recipes'}",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "RAY_worker_niceness": "0",  # Ray's default starves workers beside other tests
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        ray.init(num_cpus=2, object_store_memory=100 * 2**20, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The sweep in this process."""
    output = tmp_path_factory.mktemp("local") / "out"
    call_vlcs(output, *GRID)
    return output


def runs_in(output):
    return {path.parent.name: path.parent for path in output.glob("*/config.json")}


def values(output):
    return [(row.method, row.seed, row.metric, row.value) for row in read_rows(output / "results.json")]


def same_results(one, other):
    ours, theirs = runs_in(one), runs_in(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert (ours[name] / "model/model.safetensors").read_bytes() == (
            theirs[name] / "model/model.safetensors"
        ).read_bytes()
    timed = [[row for row in values(each) if row[2] != "training_seconds"] for each in (one, other)]
    assert timed[0] == timed[1]


def test_finished_runs_are_skipped_whichever_executor_ran_them(cluster, local, monkeypatch):
    monkeypatch.setitem(executors.EXECUTORS._items, "ray", lambda *_: pytest.fail("executed again"))
    call_vlcs(local, *GRID, "--executor", "ray")


def workers(task):
    """Processes of this test's Ray cluster that execute a task."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            found += [process] * (process.cmdline()[:1] == [f"ray::{task}"])
        except psutil.Error:
            continue
    return found


def test_killed_workers_are_replaced_and_their_runs_resume(cluster, local, tmp_path):
    output, logs, stop = tmp_path / "out", {}, threading.Event()

    def kill_workers_at_a_checkpoint() -> None:
        while not stop.is_set():
            for checkpoint in output.glob("egat_*/checkpoints/step_*"):
                step, log = int(checkpoint.name[-8:]), checkpoint.parents[1] / "log.jsonl"
                logs[log] = [
                    line for line in log.read_text().splitlines() if json.loads(line)["step"] <= step
                ]
                for process in workers("execute"):
                    process.send_signal(signal.SIGKILL)
                return
            time.sleep(0.002)

    watcher = threading.Thread(target=kill_workers_at_a_checkpoint)
    watcher.start()
    call_vlcs(output, *GRID, "--executor", "ray")
    stop.set()
    watcher.join()
    ((log, lines),) = logs.items()
    assert log.read_text().splitlines()[: len(lines)] == lines  # with the times of the killed process
    same_results(output, local)


def test_a_run_that_fails_on_ray_is_named_and_the_others_are_finished(cluster, local, tmp_path):
    options = tiny(tmp_path, "--methods", "erm", "--seeds", "0", "1")
    dataset = options.open_dataset()
    runs = [resolve(run, dataset, None) for run in options.runs(dataset)]
    (tmp_path / runs[0].name).mkdir()
    (tmp_path / runs[0].name / "mine.txt").touch()
    executor = ExecutorConfig(name="ray", retries=0)
    with pytest.raises(ChildProcessError, match=r"1 runs failed.*erm on meadow, seed 0: FileExistsError"):
        sweep(runs, tmp_path, executor=executor)
    assert (tmp_path / runs[1].name / "model").is_dir()


def test_slurm_jobs_give_the_results_of_a_local_sweep(local, tmp_path, monkeypatch):
    """submitit's own executor for this machine stands in for a cluster."""
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(executors, "POLL", 0.2)
    here = ("--executor", "slurm", "--executor.options", '{"cluster": "local"}')
    call_vlcs(tmp_path / "out", *GRID, *here)
    same_results(tmp_path / "out", local)


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    """Programs of Slurm that only keep the script of a job."""
    pytest.importorskip("submitit")
    script = tmp_path / "submitted.sh"
    programs = {
        "sbatch": f'cat "$1" > {script}\necho "Submitted batch job 7"',
        "srun": "true",
        "sacct": "echo 'JobID|State'; echo '7_0|COMPLETED'; echo '7_1|COMPLETED'",
        "scancel": "true",
    }
    (tmp_path / "bin").mkdir()
    for name, does in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return script


def jobs_in(output, *arguments):
    options = tiny(output, *arguments)
    runs = options.runs(options.open_dataset())
    return [Job(run, output / run.name, options.resources) for run in runs]


def test_the_slurm_script_asks_for_what_a_run_needs(fake_slurm, tmp_path):
    options = tiny(tmp_path / "out", "--methods", "erm", "egat")
    jobs = [
        Job(run, tmp_path / "out" / run.name, options.resources)
        for run in options.runs(options.open_dataset())
    ]
    asked = {"slurm_partition": "gpu", "timeout_min": 90}
    config = ExecutorConfig(name="slurm", cpus=4, gpus=1, retries=0, options=asked)
    with pytest.raises(ChildProcessError, match="2 runs failed"):  # the jobs write no results
        list(on_slurm(jobs, config, None))
    script = fake_slurm.read_text()
    for line in ("--array=0-1", "--cpus-per-task=4", "--gpus-per-node=1", "--partition=gpu", "--time=90"):
        assert f"#SBATCH {line}" in script
    assert "submitit.core._submit" in script


def test_slurm_needs_slurm(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    jobs = jobs_in(tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="Slurm's srun"):
        next(on_slurm(jobs, ExecutorConfig(name="slurm"), None))


@pytest.mark.parametrize(("executor", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, executor, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit, match=rf"needs {package}: pip install 'egat-hub\[{executor}\]'"):
        call_vlcs(tmp_path, "--executor", executor)


def test_unknown_executors_and_impossible_resources_raise(tmp_path):
    with pytest.raises(SystemExit, match="Did you mean 'ray'"):
        call_vlcs(tmp_path, "--executor", "rey")
    with pytest.raises(ValueError, match="at least 1 CPU"):
        ExecutorConfig(cpus=0)
