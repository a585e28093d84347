"""Execute a list of runs; finished ones are skipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from accelerate import PartialState

from egat_hub.core.distributed import broadcast_from_main, join_processes, rank, world_size
from egat_hub.data import DataConfig, MultiDomain, open_dataset
from egat_hub.experiments.config import RunConfig, with_absolute_paths
from egat_hub.experiments.executors import EXECUTORS, FAILED, ExecutorConfig, Job
from egat_hub.experiments.runner import RunResults, read_results
from egat_hub.experiments.starting import open_saved, resolve
from egat_hub.training import Resources


def sweep(
    runs: Sequence[RunConfig],
    output: str | Path,
    *,
    executor: ExecutorConfig | str = "local",
    resources: Resources | None = None,
    dataset: MultiDomain | None = None,
    on_finish: Callable[[list[RunResults]], object] | None = None,
) -> list[RunResults]:
    """Execute the runs that are not finished; every process calls this.

    A run whose loss is no longer finite is left out, and named at the end; ``failed.txt`` in its folder has
    the reason. Interrupt a sweep at any time: the same call skips what is finished and resumes the rest.

    Args:
        runs: what to run.
        output: parent of the runs' folders.
        executor: ``"local"``, ``"ray"``, ``"slurm"``, or a config.
        resources: loading, logging, saving.
        dataset: the data set of all runs, if it is open already.
        on_finish: gets all results so far whenever a run has finished and others are left.

    Returns:
        Results of all finished runs, in the order of ``runs``.

    Raises:
        ValueError: Ray or Slurm in several processes of ``accelerate launch``.
        ChildProcessError: runs that failed on Ray or Slurm.
    """
    join_processes()
    config = ExecutorConfig(name=executor) if isinstance(executor, str) else executor
    start = EXECUTORS[config.name]
    if config.name != "local" and world_size() > 1:
        raise ValueError(
            f"Executor {config.name} needs a single process. Start the command without accelerate launch."
        )
    output = Path(output).resolve()
    runs = _resolved(runs, dataset)
    unique = list({run.name: run for run in runs}.values())
    jobs = [
        Job(_portable(run), output / run.name, resources or Resources())
        for run in unique
        if not _ended(run, output)
    ]
    progress = _SweepProgress(jobs, len(unique))
    if jobs:
        progress.announce()
        for job in start(jobs, config, dataset):
            progress.finished(job)
            if on_finish and 0 < len(found := finished_runs(runs, output)) < len(runs):
                on_finish(found)
    _name_failed(unique, output)
    return finished_runs(runs, output)


def finished_runs(runs: Sequence[RunConfig], output: str | Path) -> list[RunResults]:
    """Results of the finished ones among runs with resolved configs."""
    found = (read_results(run, Path(output) / run.name) for run in runs)
    return [results for results in found if results is not None]


def _resolved(runs: Sequence[RunConfig], dataset: MultiDomain | None) -> list[RunConfig]:
    datasets: dict[DataConfig, MultiDomain] = {}
    saved = {name: open_saved(name) for name in {run.model.name for run in runs}}
    for run in runs:
        if run.data not in datasets:
            datasets[run.data] = dataset or open_dataset(run.data, verify=False)
    return [resolve(run, datasets[run.data], saved[run.model.name]) for run in runs]


def _ended(run: RunConfig, output: Path) -> bool:
    folder = output / run.name
    return read_results(run, folder) is not None or broadcast_from_main((folder / FAILED).exists)


def _portable(run: RunConfig) -> RunConfig:
    """The run with absolute paths, for workers in other folders."""
    folder = Path(run.model.name).expanduser()
    model = replace(run.model, name=str(folder.resolve())) if run.weights and folder.exists() else run.model
    return replace(run, data=with_absolute_paths(run.data), model=model)


def _name_failed(runs: Sequence[RunConfig], output: Path) -> None:
    for run in runs:
        reason = output / run.name / FAILED
        if rank() == 0 and reason.exists():
            print(f"Failed: {run.title}. {reason.read_text().strip()} Remove {reason} to try it again.")


class _SweepProgress:
    """Prints which run has ended, how many are left, and how long they will take."""

    def __init__(self, jobs: Sequence[Job], total: int) -> None:
        self._left, self._total = len(jobs), total
        self._begun, self._done = time.monotonic(), 0

    def announce(self) -> None:
        done = self._total - self._left
        PartialState().print(f"{self._left} runs to do" + (f", {done} are finished" if done else ""))

    def finished(self, job: Job) -> None:
        self._left, self._done = self._left - 1, self._done + 1
        seconds = self._left * (time.monotonic() - self._begun) / self._done
        left = f", about {timedelta(seconds=round(seconds))} left" if self._left else ""
        PartialState().print(
            f"[{self._total - self._left}/{self._total}] {job.config.title}: {job.folder}{left}"
        )
