"""Where the runs of a sweep execute: in this process, on a Ray cluster, or as Slurm jobs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from egat_hub.core.distributed import world_size
from egat_hub.core.files import atomic_write_text
from egat_hub.core.registry import Registry
from egat_hub.data import MultiDomain, open_dataset
from egat_hub.experiments.config import RunConfig
from egat_hub.experiments.runner import run
from egat_hub.training import Resources

FAILED = "failed.txt"
"""File in the folder of a run that diverged, with the reason; the run is tried again once it is removed."""

POLL = 5.0
"""Seconds between checks of Slurm jobs."""


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """Where the runs of a sweep execute.

    Attributes:
        name: ``"local"``, one after another in this process; ``"ray"``, on a Ray cluster; ``"slurm"``, a
            Slurm job each.
        cpus: CPU cores per run (Ray and Slurm).
        gpus: GPUs per run; by default 1 if the Ray cluster has any, and the partition's default under Slurm.
        retries: restarts of a run whose worker died; it resumes from its checkpoint.
        address: address of a Ray cluster, such as ``"auto"``; by default one is started on this machine.
        options: parameters of submitit's executor, such as ``{"slurm_partition": "gpu"}``.
    """

    name: str = "local"
    cpus: int = 1
    gpus: int | None = None
    retries: int = 3
    address: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cpus < 1 or (self.gpus or 0) < 0 or self.retries < 0:
            given = f"{self.cpus}, {self.gpus} and {self.retries}"
            raise ValueError(f"Expected at least 1 CPU, and at least 0 GPUs and retries, got {given}.")


@dataclass(frozen=True, eq=False)
class Job:
    """A run that is to be executed in its folder."""

    config: RunConfig
    folder: Path
    resources: Resources


EXECUTORS: Registry[Callable[[Sequence[Job], ExecutorConfig, MultiDomain | None], Iterator[Job]]]
EXECUTORS = Registry("executors")
"""Each executes jobs and yields every one when it has ended; their data set may be open already."""


def execute(job: Job, dataset: MultiDomain | None = None) -> None:
    """Execute a run; if it diverges, write :data:`FAILED`, so that others go on.

    In several processes, which cannot leave a run together, its error is raised.
    """
    try:
        dataset = dataset or open_dataset(job.config.data, verify=False)
        run(job.config, job.folder, job.resources, dataset=dataset)
    except FloatingPointError as error:
        if world_size() > 1:
            raise
        atomic_write_text(job.folder / FAILED, f"{error}\n")


@EXECUTORS.register("local")
def local(jobs: Sequence[Job], config: ExecutorConfig, dataset: MultiDomain | None) -> Iterator[Job]:
    """Execute runs one after another in this process, or in all processes of ``accelerate launch``."""
    for job in jobs:
        execute(job, dataset)
        yield job


@EXECUTORS.register("ray")
def on_ray(jobs: Sequence[Job], config: ExecutorConfig, dataset: MultiDomain | None) -> Iterator[Job]:
    """Execute runs on a Ray cluster, each in a worker process of its own.

    Raises:
        ImportError: Ray is not installed.
        ChildProcessError: runs that raised an error, or whose workers died too often; the others are done.
    """
    ray = _optional("ray", "ray")
    started_here = not ray.is_initialized()
    if started_here:
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's default starves runs on a busy machine
        memory = {} if config.address else {"object_store_memory": 100 * 2**20, "include_dashboard": False}
        ray.init(address=config.address, log_to_driver=False, **memory)
    running: dict[Any, Job] = {}
    failed: dict[Job, Exception] = {}
    try:
        gpus = config.gpus if config.gpus is not None else int(ray.cluster_resources().get("GPU", 0) > 0)
        settings = {"num_cpus": config.cpus, "num_gpus": gpus, "max_retries": config.retries, "max_calls": 1}
        remote = ray.remote(**settings)(execute)
        running |= {remote.remote(job): job for job in jobs}
        while running:
            (reference,), _ = ray.wait(list(running), num_returns=1)
            job = running.pop(reference)
            try:
                ray.get(reference)
                yield job
            except ray.exceptions.RayError as error:
                failed[job] = error
        _raise_failed(failed)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        if started_here:
            ray.shutdown()


@EXECUTORS.register("slurm")
def on_slurm(jobs: Sequence[Job], config: ExecutorConfig, dataset: MultiDomain | None) -> Iterator[Job]:
    """Submit a Slurm job for each run through submitit, and wait.

    Raises:
        ImportError, FileNotFoundError: submitit or Slurm are not installed.
        ChildProcessError: runs that raised an error, or whose jobs died too often; the others are finished.
    """
    submitit = _optional("submitit", "slurm")
    options = {"cpus_per_task": config.cpus, **config.options}
    if config.gpus is not None:
        options["gpus_per_node"] = config.gpus
    cluster = options.pop("cluster", "slurm")
    if cluster == "slurm" and not shutil.which("srun"):
        raise FileNotFoundError("Expected Slurm's srun on this machine. Start the sweep on a login node.")
    logs = jobs[0].folder.parent / "slurm"
    executor = submitit.AutoExecutor(folder=logs, cluster=cluster)
    executor.update_parameters(name="egat_hub", **options)
    failed: dict[Job, Exception] = {}
    for _ in range(config.retries + 1):
        submitted = dict(zip(executor.map_array(_Requeued(), jobs), jobs, strict=True))
        died: dict[Job, Exception] = {}
        try:
            for finished in submitit.helpers.as_completed(list(submitted), poll_frequency=POLL):
                job = submitted[finished]
                try:
                    finished.result()
                    yield job
                except submitit.core.utils.FailedJobError as error:
                    failed[job] = error
                except submitit.core.utils.UncompletedJobError as error:
                    died[job] = error
        finally:
            for unfinished in submitted:
                if not unfinished.done():
                    unfinished.cancel()
        if not died:
            break
        jobs = list(died)
    _raise_failed({**failed, **died})


class _Requeued:
    """Executes a job; a Slurm job that is preempted or times out is queued again."""

    def __call__(self, job: Job) -> None:
        execute(job)

    def checkpoint(self, job: Job) -> Any:
        return _optional("submitit", "slurm").helpers.DelayedSubmission(self, job)


def _raise_failed(failed: Mapping[Job, Exception]) -> None:
    """Raise what the workers reported: the error in a traceback, or else the first line."""
    reasons = []
    for job, error in failed.items():
        lines = str(error).strip().splitlines()
        named = [line for line in lines if re.match(r"\w+(Error|Exception): ", line)]
        reasons.append(f"{job.config.title}: {named[-1] if named else lines[0]}")
    if reasons:
        raise ChildProcessError(f"{len(reasons)} runs failed, the others are finished. {'; '.join(reasons)}")


def _optional(package: str, extra: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(f"This executor needs {package}: pip install 'egat-hub[{extra}]'") from error
