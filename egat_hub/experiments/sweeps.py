"""Sweeps: :func:`compare` calls :func:`run_sweep` and writes tables and figures of its results.

:func:`run_sweep` makes the runs of the options and calls :func:`sweep`, which executes those that are not
finished.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from accelerate import PartialState

from egat_hub.core.distributed import broadcast_from_main, join_processes, rank, world_size
from egat_hub.core.results import write_rows
from egat_hub.data import DataConfig, EvaluationView, MultiDomain, open_dataset
from egat_hub.experiments.config import VARIANTS, RunConfig, with_absolute_paths
from egat_hub.experiments.executors import EXECUTORS, FAILED, ExecutorConfig, Job
from egat_hub.experiments.options import SweepOptions
from egat_hub.experiments.plots import case_study_of, save_figure
from egat_hub.experiments.runner import RunResults, check_folder, read_results
from egat_hub.experiments.search import Grid, choose
from egat_hub.experiments.starting import check_runs, open_saved, resolve
from egat_hub.experiments.tables.report import Report, report
from egat_hub.experiments.tables.table import Published
from egat_hub.hub import from_pretrained
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
    """Execute those of the runs that are not finished; every process calls this.

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
        if not (
            read_results(run, output / run.name) or broadcast_from_main((output / run.name / FAILED).exists)
        )
    ]
    begun, finished, state = time.monotonic(), len(unique) - len(jobs), PartialState()
    if jobs:
        state.print(f"{len(jobs)} runs to do" + (f", {finished} are finished" if finished else ""))
        for done, job in enumerate(start(jobs, config, dataset), 1):
            seconds = (len(jobs) - done) * (time.monotonic() - begun) / done
            left = f", about {timedelta(seconds=round(seconds))} left" if done < len(jobs) else ""
            state.print(f"[{finished + done}/{len(unique)}] {job.config.title}: {job.folder}{left}")
            if on_finish and 0 < len(found := _finished_runs(runs, output)) < len(runs):
                on_finish(found)
    for run in unique:
        reason = output / run.name / FAILED
        if rank() == 0 and reason.exists():
            print(f"Failed: {run.title}. {reason.read_text().strip()} Remove {reason} to try it again.")
    return _finished_runs(runs, output)


def _finished_runs(runs: Sequence[RunConfig], output: str | Path) -> list[RunResults]:
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


def _portable(run: RunConfig) -> RunConfig:
    """The run with absolute paths, for workers in other folders."""
    folder = Path(run.model.name).expanduser()
    model = replace(run.model, name=str(folder.resolve())) if run.weights and folder.exists() else run.model
    return replace(run, data=with_absolute_paths(run.data), model=model)


def run_sweep(
    options: SweepOptions,
    adapt: Callable[[list[RunConfig]], list[RunConfig]] = list,
    *,
    config_file: str = "config.yaml",
    on_finish: Callable[..., object] | None = None,
) -> list[RunResults]:
    """Make the runs of the options, check and execute them; every process calls this.

    Args:
        options: the sweep.
        adapt: changes the list of runs.
        config_file: file in the output folder that gets the options.
        on_finish: called with the results so far and ``total``, the number of all runs, when a run finishes.

    Returns:
        Results of all finished runs.

    Raises:
        UnknownNameError, FileNotFoundError, UnreadableImageError, ValueError: options that cannot work.
        ChildProcessError, FloatingPointError: runs failed on Ray or Slurm, or all diverged.
    """
    state, output = join_processes(), options.folder
    dataset, saved = options.open_dataset(), open_saved(options.model.name)
    runs = [resolve(run, dataset, saved) for run in adapt(options.runs(dataset))]
    trials = Grid.read(options.search).trials(runs, options.epsilon) if options.search else []
    for run in [*runs, *trials]:
        check_folder(output / run.name, run, dataset)
    check_runs([*runs, *trials], dataset, saved, options.resources.trackers)
    if state.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        options.save(output / config_file)
    state.wait_for_everyone()
    execute = partial(
        sweep, output=output, executor=options.executor, resources=options.resources, dataset=dataset
    )
    if trials:
        runs = choose(runs, trials, execute, output / "search.json")
    results = execute(runs, on_finish=on_finish and partial(on_finish, total=len(runs)))
    if not results:
        raise FloatingPointError("No run could be finished; the reasons are above.")
    return results


@dataclass(frozen=True)
class Comparison:
    """Results of a sweep, their tables, and the folder that holds both."""

    results: list[RunResults]
    report: Report
    output: Path

    @property
    def text(self) -> str:
        """The tables, and the location of all results."""
        return (
            f"\n{self.report.markdown()}\n"
            f"In {self.output}: table.md, .tex, .csv, results.json, case_study_*.png, a folder per run.\n"
            f'Load a model: egat_hub.from_pretrained("{self.results[-1].model}")'
        )

    def print(self) -> None:
        """Print the text in the main process."""
        PartialState().print(self.text)


def compare(options: SweepOptions, paper: Sequence[Path] = ()) -> Comparison:
    """Execute a sweep, write its tables and draw its figures; every process calls this.

    Tables are written after each run, with what is finished.

    Args:
        options: the sweep, with the errors of :func:`run_sweep`.
        paper: CSV files of published results (dataset, method, train_domain, test_domain, metric, value).
    """
    write = partial(_write_tables, options.folder, options.epsilon, paper)
    results = run_sweep(options, on_finish=write)
    tables = write(results, len(results))
    if PartialState().is_main_process and results[0].config.evaluation.explanation:
        _draw(results, options.folder)
    PartialState().wait_for_everyone()
    return Comparison(results, tables, options.folder)


def _write_tables(
    output: Path, epsilon: float, paper: Sequence[Path], results: Sequence[RunResults], total: int
) -> Report:
    """Tables of the finished ones of ``total`` runs; the main process writes them and ``results.json``."""
    outcomes = [outcome for found in results for outcome in found.outcomes]
    tables = report(outcomes, Published.read(paper, outcomes[0].row.dataset), epsilon=epsilon)
    if len(results) < total:
        note = f"{len(results)} of {total} runs are finished; the others are not in these tables."
        tables = replace(tables, notes=(note, *tables.notes))
    if PartialState().is_main_process:
        write_rows(output / "results.json", [row for row, _ in outcomes])
        tables.write(output)
    return tables


def _draw(results: Sequence[RunResults], output: Path) -> None:
    """One case study per training domain: the methods of the first seed side by side."""
    dataset = open_dataset(results[0].config.data, verify=False)
    for domain in dict.fromkeys(found.config.domain for found in results):
        mine = [r for r in results if r.config.domain == domain and r.config.label not in VARIANTS]
        models = {
            found.config.label: from_pretrained(found.model).model
            for found in mine
            if found.config.seed == mine[0].config.seed
        }
        if models and all(network.head_form != "independent" for network in models.values()):
            view = EvaluationView(dataset[domain], "test", image_size=mine[0].config.image_size)
            figure = case_study_of(models, view, mine[0].config.evaluation)
            save_figure(figure, output / f"case_study_{domain}.png")
