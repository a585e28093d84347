"""Run a sweep from its options, and compare the methods in tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from accelerate import PartialState

from egat_hub.core.distributed import join_processes
from egat_hub.core.results import write_rows
from egat_hub.data import EvaluationView, open_dataset
from egat_hub.experiments.checks import check_runs
from egat_hub.experiments.config import RunConfig
from egat_hub.experiments.options import SweepOptions
from egat_hub.experiments.plots import case_study_of, save_figure
from egat_hub.experiments.runner import RunResults, check_folder
from egat_hub.experiments.search import Grid, choose
from egat_hub.experiments.starting import open_saved, resolve
from egat_hub.experiments.sweeps import sweep
from egat_hub.experiments.tables.report import Report, report
from egat_hub.experiments.tables.table import Published
from egat_hub.experiments.variants import VARIANTS
from egat_hub.hub import from_pretrained

Adapt = Callable[[list[RunConfig]], list[RunConfig]]
"""Changes the runs of the command line for a recipe."""


def run_sweep(
    options: SweepOptions,
    adapt: Adapt = list,
    *,
    config_file: str = "config.yaml",
    on_finish: Callable[..., object] | None = None,
) -> list[RunResults]:
    """Check and execute the runs that the options describe; every process calls this.

    Args:
        options: the sweep.
        adapt: changes the list of runs.
        config_file: file in the output folder that gets the options.
        on_finish: called with the results so far and ``total``, the number of all runs, when a run finishes.

    Returns:
        Results of all finished runs.

    Raises:
        UnknownNameError, FileNotFoundError, UnreadableImageError, ValueError: options that cannot work.
        ChildProcessError: runs that failed on Ray or Slurm.
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
        options: the sweep.
        paper: CSV files of published results (dataset, method, train_domain, test_domain, metric, value).

    Raises:
        UnknownNameError, FileNotFoundError, UnreadableImageError, ValueError: as :func:`run_sweep`.
    """
    write = partial(write_tables, options.folder, options.epsilon, paper)
    results = run_sweep(options, on_finish=write)
    tables = write(results, len(results))
    if PartialState().is_main_process and results[0].config.evaluation.explanation:
        _draw(results, options.folder)
    PartialState().wait_for_everyone()
    return Comparison(results, tables, options.folder)


def write_tables(
    output: Path, epsilon: float, paper: Sequence[Path], results: Sequence[RunResults], total: int
) -> Report:
    """Tables of finished runs; the main process writes them and ``results.json``.

    Args:
        output: folder to write to.
        epsilon: budget of published robust accuracy.
        paper: CSV files of published results.
        results: finished runs.
        total: number of all runs.
    """
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
