"""Methods x domains x seeds: run what is missing, then compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from accelerate import PartialState

from egat_hub.core.distributed import join_processes
from egat_hub.core.results import Outcome, write_rows
from egat_hub.data import DataConfig, EvaluationView, open_dataset
from egat_hub.evaluation import EvaluationConfig
from egat_hub.experiments.cell import MODEL, Bench, Cell
from egat_hub.experiments.checks import check_cell, check_evaluation
from egat_hub.experiments.further_attack import FurtherAttack
from egat_hub.experiments.plots import case_study_of, save_figure
from egat_hub.experiments.search import Grid, Trial, choose
from egat_hub.experiments.sharing import complete_all
from egat_hub.experiments.tables.report import Report, report
from egat_hub.experiments.tables.table import Published
from egat_hub.experiments.variants import VARIANTS, Variant, with_chosen
from egat_hub.hub import from_pretrained
from egat_hub.training import ModelConfig, Resources, TrainConfig

Finished: TypeAlias = Sequence[tuple[Cell, Sequence[Outcome]]]
"""Runs, with what was measured of them."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is compared.

    Attributes:
        variants: methods with their settings.
        domains: domains to train on; empty for all.
        test_domains: domains to test on, besides the training domain; empty for all.
        seeds: one training run for each.
        model: the network.
        data: the data set.
        train: how networks are trained.
        evaluation: what is measured.
        epsilon: the budget that methods train for and are judged by; one of the evaluation's.
        resources: loading, logging, saving.
        output: folder of runs, tables, figures and ``results.json``.
        grid: settings to choose among first, on validation data and the first seed, or None.
        further: attacks that are measured besides that of the evaluation.
    """

    variants: tuple[Variant, ...]
    domains: tuple[str, ...]
    test_domains: tuple[str, ...]
    seeds: tuple[int, ...]
    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    evaluation: EvaluationConfig
    epsilon: float
    resources: Resources
    output: Path
    grid: Grid | None = None
    further: tuple[FurtherAttack, ...] = ()

    def __post_init__(self) -> None:
        self.trials(self.domains)

    def trials(self, domains: tuple[str, ...]) -> list[Trial]:
        """The candidates of the search and their runs."""
        if self.grid is None:
            return []
        once = replace(self, seeds=self.seeds[:1], grid=None)
        return [
            Trial(candidate, tuple(replace(once, variants=(candidate,)).cells(domains)))
            for candidate in self.grid.candidates(self.variants)
        ]

    def cells(self, domains: tuple[str, ...]) -> Iterator[Cell]:
        """All training runs, seed by seed, so that a stopped experiment has whole comparisons."""
        for seed in self.seeds:
            for domain in domains:
                for variant in self.variants:
                    yield Cell(
                        variant=variant,
                        domain=domain,
                        seed=seed,
                        model=self.model,
                        data=self.data,
                        train=self.train,
                    )


@dataclass(frozen=True)
class Ready:
    """An experiment whose data set is open and whose methods are known to fit it."""

    experiment: Experiment
    bench: Bench
    cells: tuple[Cell, ...]

    @property
    def domains(self) -> tuple[str, ...]:
        """The training domains."""
        return tuple(dict.fromkeys(cell.domain for cell in self.cells))

    def finished(self) -> Finished:
        """The cells that are finished, and what was measured."""
        return [(cell, found) for cell in self.cells if (found := self.bench.read(cell)) is not None]

    def searched(self) -> Ready:
        """With the settings that the search chose."""
        experiment = self.experiment
        trials = experiment.trials(self.domains)
        chosen = choose(self.bench, trials, epsilon=experiment.epsilon)
        experiment = replace(experiment, variants=with_chosen(experiment.variants, chosen), grid=None)
        return replace(self, experiment=experiment, cells=tuple(experiment.cells(self.domains)))


def prepare(experiment: Experiment) -> Ready:
    """Open and check everything that could fail, before time is spent; every process calls this.

    Raises:
        UnknownNameError: a data set, domain, guide, explanation... that does not exist.
        FileNotFoundError, UnreadableImageError: the data set is not there, or damaged.
        ValueError: no method, or a method, network, explanation or batch size that does not fit the rest.
    """
    state = join_processes()
    wanted = (*experiment.domains, *experiment.test_domains)
    everything = not experiment.domains or not experiment.test_domains
    dataset = open_dataset(experiment.data, None if everything else wanted, verify=state.is_main_process)
    domains, test_domains = (
        tuple(dataset[name].name for name in chosen) or dataset.domains
        for chosen in (experiment.domains, experiment.test_domains)
    )
    cells = tuple(experiment.cells(domains))
    if not cells:
        raise ValueError("Expected at least one method and one seed.")
    once = {cell.variant.name: cell for cell in cells}.values()
    for cell in [*once, *(trial.cells[0] for trial in experiment.trials(domains))]:
        method = check_cell(cell, dataset, domains)
    check_evaluation(method, experiment.evaluation, experiment.data.image_size)
    experiment.output.mkdir(parents=True, exist_ok=True)
    state.wait_for_everyone()
    bench = Bench(
        dataset,
        test_domains,
        experiment.evaluation,
        experiment.output,
        experiment.resources,
        tuple(attack.facing(experiment.epsilon) for attack in experiment.further),
    )
    return Ready(experiment, bench, cells)


def complete(ready: Ready, so_far: Callable[[Finished], object] | None = None) -> Finished:
    """Run every cell that is not finished and that nobody else is at; every process calls this.

    Args:
        ready: what to run.
        so_far: gets what is finished whenever a cell was run here and some are left.

    Returns:
        Every cell that could be finished, whichever machine ran it, and what was measured.
    """
    bench = ready.bench
    if ready.experiment.grid:
        ready = ready.searched()

    def work(cell: Cell) -> None:
        bench.run(cell)
        if so_far is not None and len(finished := ready.finished()) < len(ready.cells):
            so_far(finished)

    complete_all(bench, ready.cells, bench.is_finished, work)
    return ready.finished()


def run(ready: Ready, paper: Sequence[Path] = ()) -> None:
    """Complete the experiment, print its tables and draw its figures; every process calls this.

    The files of the tables are there from the first finished run on, and follow.

    Args:
        ready: what to run.
        paper: CSV files of published figures (dataset, method, train_domain, test_domain, metric, value).
    """
    published = Published.read(paper, ready.bench.dataset.name)
    state, bench = PartialState(), ready.bench
    finished = complete(ready, partial(_tables, ready, published))
    if state.is_main_process and finished:
        print(f"\n{_tables(ready, published, finished).markdown()}")
        print(
            f"In {bench.output}: table.md, .tex, .csv, results.json, case_study_*.png, a folder for each run."
        )
        if bench.evaluation.explanation:
            _draw(bench, [cell for cell, _ in finished])
        print(f'Load a model: egat_hub.from_pretrained("{bench.folder(finished[-1][0]) / MODEL}")')
    state.wait_for_everyone()


def _tables(ready: Ready, published: Published, finished: Finished) -> Report:
    """Tables of what is finished; the main process leaves them, and what they are made of, in the folder."""
    outcomes = [outcome for _, found in finished for outcome in found]
    tables = report(outcomes, published, epsilon=ready.experiment.epsilon)
    if len(finished) < len(ready.cells):
        told = f"{len(finished)} of {len(ready.cells)} runs are finished; the others are not in these tables."
        tables = replace(tables, notes=(told, *tables.notes))
    if PartialState().is_main_process:
        write_rows(ready.bench.output / "results.json", [row for row, _ in outcomes])
        tables.write(ready.bench.output)
    return tables


def _draw(bench: Bench, cells: Sequence[Cell]) -> None:
    """One case study a training domain: the methods of the first seed side by side."""
    for domain in dict.fromkeys(cell.domain for cell in cells):
        mine = [cell for cell in cells if cell.domain == domain and cell.variant.name not in VARIANTS]
        models = {
            cell.variant.name: from_pretrained(bench.folder(cell) / MODEL).model
            for cell in mine
            if cell.seed == mine[0].seed
        }
        if not models or any(network.head_form == "independent" for network in models.values()):
            continue
        view = EvaluationView(bench.dataset[domain], "test", image_size=mine[0].data.image_size)
        figure = case_study_of(models, view, bench.evaluation)
        save_figure(figure, bench.output / f"case_study_{domain}.png")
