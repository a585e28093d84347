"""One training run, checked before time is spent on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from egat_hub.data import DataConfig, open_dataset, verify
from egat_hub.engine import EvaluationConfig, ModelConfig, Resources, TrainConfig
from egat_hub.engine.processes import join_processes
from egat_hub.experiments.cell import MODEL, Cell
from egat_hub.experiments.checks import check_cell, check_evaluation
from egat_hub.experiments.claim import claimed
from egat_hub.experiments.one_run import OneRun, begin, check_folder, train_domain
from egat_hub.experiments.variants import Variant
from egat_hub.results import Outcome


@dataclass(frozen=True)
class Single:
    """A run whose data are open and whose parts are known to fit."""

    cell: Cell
    bench: OneRun

    @property
    def model(self) -> Path:
        """Folder of the model, once it is trained."""
        return self.bench.output / MODEL

    def run(self) -> list[Outcome]:
        """Train, measure and save, or do what of it is not done yet; every process calls this."""
        with claimed(self.bench.output):
            begin(self.bench.output, self.cell)
            return self.bench.run(self.cell)


def prepare_single(
    variant: Variant,
    *,
    model: ModelConfig,
    data: DataConfig,
    domain: str | None,
    seed: int,
    train: TrainConfig,
    evaluation: EvaluationConfig,
    resources: Resources,
    output: Path | None,
) -> Single:
    """Open and check everything that could fail; every process calls this.

    Args:
        variant: the method.
        model: the network.
        data: the data set; accuracy is measured on its other domains too.
        domain: the one to train on; None where there is only one.
        seed: of weights, batches, dropout, attacks and mixup.
        train: how the network is trained.
        evaluation: what is measured.
        resources: loading, logging, saving.
        output: folder of the run; by default one in ``runs``, named by what decides the run.

    Raises:
        UnknownNameError: a data set, domain, guide... that does not exist.
        FileNotFoundError, UnreadableImageError: the data set is not there, or damaged.
        FileExistsError: the output folder holds something else.
        ValueError: parts that do not fit each other.
    """
    state = join_processes()
    dataset = open_dataset(data, verify=False)
    cell = Cell(
        variant=variant,
        domain=train_domain(dataset, domain),
        seed=seed,
        model=model,
        data=data,
        train=train,
    )
    check_evaluation(check_cell(cell, dataset, [cell.domain]), evaluation, data.image_size)
    output = output or Path("runs") / "train" / cell.name
    check_folder(output, cell)
    if state.is_main_process:
        verify(dataset.values())
    state.wait_for_everyone()
    return Single(cell, OneRun(dataset, dataset.domains, evaluation, output, resources))
