"""One training run in a folder of the user's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState

from egat_hub.core.config import digest
from egat_hub.core.distributed import join_processes, rank
from egat_hub.core.files import atomic_write_text
from egat_hub.core.results import Outcome
from egat_hub.data import DataConfig, MultiDomain, open_dataset, verify_images
from egat_hub.evaluation import EvaluationConfig
from egat_hub.experiments.cell import CONFIG, MODEL, Bench, Cell, resolved
from egat_hub.experiments.checks import check_cell, check_evaluation
from egat_hub.experiments.claim import claimed
from egat_hub.experiments.variants import Variant
from egat_hub.training import ModelConfig, Resources, TrainConfig


class OneRun(Bench):
    """As :class:`Bench`, but ``output`` itself is the folder of the run."""

    def folder(self, cell: Cell) -> Path:
        return self.output


def check_folder(folder: Path, cell: Cell) -> None:
    """Refuse a folder that holds another run.

    Raises:
        FileExistsError: it holds one with other settings, or something else than a run.
    """
    if not folder.exists():
        return
    known = folder / CONFIG
    if not folder.is_dir() or (not known.is_file() and any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there and holds no run; name another --output.")
    if known.is_file() and not _same(json.loads(known.read_text()), cell.settings):
        raise FileExistsError(
            f"{folder} holds a run with other settings ({CONFIG} has them); name another --output, or remove "
            "the folder."
        )


def begin(folder: Path, cell: Cell) -> None:
    """Make the folder of a run and say in it what run it is."""
    if rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / CONFIG, json.dumps(cell.settings, indent=2) + "\n")
    PartialState().wait_for_everyone()


def train_domain(dataset: MultiDomain, name: str | None) -> str:
    """The domain to train on: the one that is named, or the only one.

    Raises:
        UnknownNameError: a domain that the data set does not have.
        ValueError: several, and none is named.
    """
    if name is None and len(dataset) > 1:
        raise ValueError(
            f"{dataset.name} has the domains {', '.join(dataset)}; name the --domain to train on. Accuracy "
            "on the others is measured."
        )
    return dataset[name or dataset.domains[0]].name


def _same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return digest(_located(first)) == digest(_located(second))


def _located(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {**settings, "data": resolved(settings["data"])}


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
        verify_images(dataset.values())
    state.wait_for_everyone()
    return Single(cell, OneRun(dataset, dataset.domains, evaluation, output, resources))
