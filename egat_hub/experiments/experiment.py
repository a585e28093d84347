"""Methods x domains x seeds: run what is missing, then compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import PartialState

from egat_hub.data import DataConfig, EvaluationView, MultiDomain, open_dataset
from egat_hub.engine import EvaluationConfig, ModelConfig, Resources, TrainConfig, evaluate
from egat_hub.engine.processes import join_processes
from egat_hub.engine.training import create_optimizer
from egat_hub.experiments.cell import MODEL, Cell, run_cell
from egat_hub.experiments.figures import case_study_of
from egat_hub.experiments.table import comparison
from egat_hub.hub import from_pretrained
from egat_hub.methods import MethodConfig
from egat_hub.results import Row, write_rows


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is compared.

    Attributes:
        methods: config of each method by its name.
        domains: domains to train on; empty for all.
        test_domains: domains to test on, besides the training domain; empty for all.
        seeds: one training run for each.
        model: the network.
        data: the data set.
        train: how networks are trained.
        evaluation: what is measured.
        resources: loading, logging, saving.
        output: folder of runs, table, figure and ``results.json``.
    """

    methods: dict[str, MethodConfig]
    domains: tuple[str, ...]
    test_domains: tuple[str, ...]
    seeds: tuple[int, ...]
    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    evaluation: EvaluationConfig
    resources: Resources
    output: Path

    def cells(self, domains: tuple[str, ...]) -> Iterator[Cell]:
        """All training runs, seed by seed, so that a stopped experiment has whole comparisons."""
        for seed in self.seeds:
            for domain in domains:
                for method, config in self.methods.items():
                    yield Cell(
                        method=method,
                        method_config=config,
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
    dataset: MultiDomain
    test_domains: tuple[str, ...]
    cells: tuple[Cell, ...]


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
    for cell in {cell.method: cell for cell in cells}.values():
        method = cell.build(len(dataset.classes))
        create_optimizer(method, cell.train)
        without = [name for name in domains if not dataset[name].has_masks]
        if method.needs_masks and without:
            raise ValueError(
                f"{cell.method} is set to use object masks and {', '.join(without)} of {dataset.name} has "
                "none. Give --masks-dir, use --data synthetic, or choose another guide."
            )
    size = experiment.data.image_size
    without_attack = replace(experiment.evaluation, epsilons=())
    evaluate(method.backbone, [(torch.zeros(3, size, size), 0)], without_attack)
    experiment.output.mkdir(parents=True, exist_ok=True)
    state.wait_for_everyone()
    return Ready(experiment, dataset, test_domains, cells)


def run(ready: Ready, paper: Sequence[Path] = ()) -> list[Row]:
    """Run every cell that is not finished, print the table, draw the figure; every process calls this.

    Args:
        ready: what to run.
        paper: CSV files of published figures (dataset, method, train_domain, test_domain, metric, value).
    """
    state, experiment, cells = PartialState(), ready.experiment, ready.cells
    output = experiment.output
    rows = []
    for number, cell in enumerate(cells, start=1):
        state.print(f"[{number}/{len(cells)}] {cell.name}")
        rows += run_cell(
            cell,
            ready.dataset,
            test_domains=ready.test_domains,
            evaluation=experiment.evaluation,
            output=output,
            resources=experiment.resources,
        )
    if state.is_main_process:
        write_rows(output / "results.json", rows)
        table = comparison(rows, paper)
        (output / "table.md").write_text(table)
        if experiment.evaluation.explanation:
            _draw(ready)
        print(f"\n{table}\nIn {output}: results.json, table.md, case_study_*.png and a folder for each run.")
        print(f'Load a model: egat_hub.from_pretrained("{output / cells[-1].name / MODEL}")')
    state.wait_for_everyone()
    return rows


def _draw(ready: Ready) -> None:
    """One case study a training domain: the methods of the first seed side by side."""
    cells, experiment = ready.cells, ready.experiment
    for domain in dict.fromkeys(cell.domain for cell in cells):
        models = {
            cell.method: from_pretrained(experiment.output / cell.name / MODEL).backbone
            for cell in cells
            if (cell.domain, cell.seed) == (domain, experiment.seeds[0])
        }
        if any(backbone.head_form == "independent" for backbone in models.values()):
            return
        view = EvaluationView(ready.dataset[domain], "test", image_size=experiment.data.image_size)
        figure = case_study_of(models, view, experiment.evaluation)
        figure.savefig(experiment.output / f"case_study_{domain}.png", dpi=110)
