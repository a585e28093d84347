"""One cell of an experiment: a method on a domain with a seed, trained, measured and saved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from accelerate import PartialState
from matplotlib.figure import Figure

from egat_hub.core.config import digest, non_default, to_dict
from egat_hub.core.distributed import main_says, rank
from egat_hub.core.files import atomic_write_text
from egat_hub.core.randomness import derive_seed
from egat_hub.core.results import Outcome, Row, read_outcomes
from egat_hub.data import DataConfig, EvaluationView, MultiDomain, TrainingView
from egat_hub.evaluation import EvaluationConfig, evaluate_per_image
from egat_hub.evaluation.config import PROTOCOL
from egat_hub.experiments.further_attack import FurtherAttack
from egat_hub.experiments.kept import journal_of, keep, kept
from egat_hub.experiments.plots import case_study_of
from egat_hub.experiments.variants import Variant
from egat_hub.hub import from_pretrained, save_pretrained
from egat_hub.methods import METHODS, AdversarialMethod, Method
from egat_hub.metrics import metric_of
from egat_hub.metrics.training_cost import step_cost
from egat_hub.models import TimmModel
from egat_hub.training import ModelConfig, Resources, TrainConfig, Transfer, train

MODEL = "model"
CONFIG = "config.json"
LOG = "log.jsonl"
ATTACK_GRADIENTS = "attack_gradients"
COST = ("step_cost", "training_seconds")
PLACES = ("data_dir", "masks_dir")
"""Fields of a data set that are of one machine and tell nobody else anything."""

PACKAGES = ("egat-hub", "torch", "timm", "accelerate")


Measure = Callable[["Cell", TimmModel, Mapping[str, Any], Path], list[Outcome]]
"""From a cell, its network, what is known of it and a journal to what was measured."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Everything that decides what a trained model is.

    Attributes:
        variant: the method and its settings; the name that tables give it decides nothing.
        domain: domain to train on.
        seed: of weights, batches, dropout, attacks and mixup.
        model: the network.
        data: the data set.
        train: how it is trained.
    """

    variant: Variant
    domain: str
    seed: int
    model: ModelConfig
    data: DataConfig
    train: TrainConfig

    @property
    def settings(self) -> dict[str, Any]:
        """What decides, as a nested dict."""
        return {
            "method": self.variant.method,
            "method_config": non_default(self.variant.config),
            "domain": self.domain,
            "seed": self.seed,
            "model": to_dict(self.model),
            "data": to_dict(self.data),
            "train": non_default(self.train),
        }

    @property
    def name(self) -> str:
        """Name of the run's folder; equal cells have equal names, others do not."""
        settings = digest({**self.settings, "data": resolved(to_dict(self.data))})
        return f"{self.variant.method}_{self.domain}_seed{self.seed}_{settings}"

    def build(self, num_classes: int) -> Method:
        """The method around a new network; the same weights for every method of a seed."""
        torch.manual_seed(derive_seed(self.seed, "weights"))
        network = self.model.build(num_classes=num_classes, image_size=self.data.image_size)
        return METHODS[self.variant.method](network, self.variant.config, seed=self.seed)

    @property
    def transfer(self) -> Transfer | None:
        """How the layers below the head are trained; like all others."""
        return None

    def origin(self, network: TimmModel) -> dict[str, Any]:
        """What the metadata of a model say of the weights that training started from."""
        source = network.net.pretrained_cfg if self.model.pretrained else {}
        return {"base_model": f"{source['architecture']}.{source['tag']}"} if source.get("tag") else {}


@dataclass(frozen=True)
class Bench:
    """Where cells are trained, measured and saved; every process has one and calls the same.

    A cell's folder is ``output/cell.name``. It ends up with ``config.json``, ``log.jsonl``,
    ``outcomes_<digest>.jsonl``, an ``attack_<digest>.jsonl`` for each further attack, and ``model/``, a
    folder for ``from_pretrained``.

    Attributes:
        dataset: has the training domains and the test domains.
        test_domains: domains on which accuracy is measured besides the training domain.
        evaluation: what is measured on the test split of the training domain.
        output: folder of the experiment.
        resources: loading, logging, saving.
        further: attacks that are measured there besides.
    """

    dataset: MultiDomain
    test_domains: tuple[str, ...]
    evaluation: EvaluationConfig
    output: Path
    resources: Resources
    further: tuple[FurtherAttack, ...] = ()

    def folder(self, cell: Cell) -> Path:
        """The folder of a cell."""
        return self.output / cell.name

    def read(self, cell: Cell) -> list[Outcome] | None:
        """What was measured, or None while that is not finished."""
        if not main_says(lambda: self.is_finished(cell)):
            return None
        return self._named(cell, {path: read_outcomes(path) for path in self._files(cell)})

    def is_finished(self, cell: Cell) -> bool:
        """Whether all is measured."""
        return all(path.exists() for path in self._files(cell))

    def run(self, cell: Cell) -> list[Outcome]:
        """Train, measure and save, or do what of it is not done yet.

        A finished model is not trained again, whatever is to be measured; a run that was stopped goes on from
        its checkpoint, and an evaluation after the last batch that was measured.
        """
        finished = self.read(cell)
        if finished is not None:
            return finished
        network, metadata = self._trained(cell)
        files = self._files(cell)
        found = {path: read_outcomes(path) for path in files if main_says(path.exists)}
        missing = [path for path in files if path not in found]
        for path in missing:
            found[path] = files[path](cell, network, metadata, journal_of(path))
            if path != missing[-1]:
                keep(path, found[path])
        outcomes = self._named(cell, found)
        if rank() == 0:
            self._save(cell, network, metadata, [row for row, _ in outcomes if row.metric not in COST])
            self._discard_checkpoints(cell)
        keep(missing[-1], found[missing[-1]])  # last, as the sign that the saved card has all figures
        return outcomes

    def validation(self, cell: Cell, epsilon: float) -> dict[str, float] | None:
        """Clean and robust accuracy on the validation split, or None while they are unknown."""
        if not main_says(lambda: self.is_validated(cell, epsilon)):
            return None
        path = self._validation(cell, epsilon)[0]
        return {
            row.metric: row.value
            for row, _ in read_outcomes(path)
            if metric_of(row.metric).hub_type == "accuracy"
        }

    def is_validated(self, cell: Cell, epsilon: float) -> bool:
        """Whether :meth:`validate` is done."""
        return self._validation(cell, epsilon)[0].exists()

    def validate(self, cell: Cell, epsilon: float) -> None:
        """Train, and measure accuracy on the validation split, or do what of it is not done yet."""
        path, config = self._validation(cell, epsilon)

        def measure(journal: Path) -> list[Outcome]:
            outcomes = self._judge(cell, self._trained(cell)[0], config, journal, split="val")
            if rank() == 0:
                self._discard_checkpoints(cell)
            return outcomes

        kept(path, measure)

    def _validation(self, cell: Cell, epsilon: float) -> tuple[Path, EvaluationConfig]:
        config = self.evaluation.accuracy_only(epsilons=(epsilon,))
        measured = digest([PROTOCOL, to_dict(replace(config, batch_size=1))])
        return self.folder(cell) / f"validation_{measured}.jsonl", config

    def _trained(self, cell: Cell) -> tuple[TimmModel, dict[str, Any]]:
        """The network of a cell and what is known of it, from its folder if it is there."""
        folder = self.folder(cell)
        if main_says((folder / MODEL).exists):
            classifier = from_pretrained(folder / MODEL)
            return classifier.model.to(PartialState().device), classifier.metadata
        folder.mkdir(parents=True, exist_ok=True)
        if rank() == 0:
            atomic_write_text(folder / CONFIG, json.dumps(cell.settings, indent=2) + "\n")
        network, metadata = self._train(cell, folder)
        if rank() == 0:
            self._save(cell, network, metadata, [])
        PartialState().wait_for_everyone()
        return network, metadata

    def _discard_checkpoints(self, cell: Cell) -> None:
        """Checkpoints go last, for until the model is saved for good a kill may cost it."""
        shutil.rmtree(self.folder(cell) / "checkpoints", ignore_errors=True)

    def _save(self, cell: Cell, network: TimmModel, metadata: dict[str, Any], rows: Sequence[Row]) -> None:
        save_pretrained(
            network,
            self.folder(cell) / MODEL,
            label_names=self.dataset.classes,
            metadata=metadata,
            rows=rows,
            figures=self._figures(cell, network) if rows else {},
        )

    def _files(self, cell: Cell) -> dict[Path, Measure]:
        """The files that hold what is measured, and how it is measured."""
        folder = self.folder(cell)
        own = digest([PROTOCOL, to_dict(replace(self.evaluation, batch_size=1)), self._others(cell)])
        files: dict[Path, Measure] = {folder / f"outcomes_{own}.jsonl": self._measure}
        for attack in self.further:
            files[folder / f"attack_{digest([PROTOCOL, to_dict(attack), self.evaluation.seed])}.jsonl"] = (
                partial(self._attack, attack)
            )
        return files

    def _named(self, cell: Cell, found: Mapping[Path, Sequence[Outcome]]) -> list[Outcome]:
        """Outcomes under the cell's own name, each figure once."""
        once: dict[str, Outcome] = {}
        for row, values in (outcome for outcomes in found.values() for outcome in outcomes):
            named = replace(row, method=cell.variant.name)
            once.setdefault(digest([named.metric, named.test_domain, named.protocol]), Outcome(named, values))
        return list(once.values())

    def _others(self, cell: Cell) -> list[str]:
        return [domain for domain in self.test_domains if domain != cell.domain]

    def _train(self, cell: Cell, folder: Path) -> tuple[TimmModel, dict[str, Any]]:
        domain, size = self.dataset[cell.domain], cell.data.image_size
        method = cell.build(len(self.dataset.classes))
        origin = cell.origin(method.model)
        trained = train(
            method,
            TrainingView(domain, "train", image_size=size, seed=cell.seed),
            EvaluationView(domain, "val", image_size=size),
            cell.train,
            folder,
            seed=cell.seed,
            resources=self.resources,
            transfer=cell.transfer,
        )
        metadata = {
            "method": cell.variant.name,
            "dataset": self.dataset.name,
            "train_domain": cell.domain,
            "seed": cell.seed,
            "config": to_dict(cell.variant.config),
            "model": to_dict(cell.model),
            "data": {key: value for key, value in to_dict(cell.data).items() if key not in PLACES},
            "train": to_dict(cell.train),
            "best_step": trained.best_step,
            "val_accuracy": trained.val_accuracy,
            "training_seconds": round(trained.seconds, 1),
            **_attack_gradients(folder / LOG),
            "versions": {name: version(name) for name in PACKAGES},
            **origin,
        }
        return trained.model, metadata

    def _measure(
        self, cell: Cell, network: TimmModel, metadata: Mapping[str, Any], journal: Path
    ) -> list[Outcome]:
        accuracy = self.evaluation.accuracy_only(epsilons=())
        outcomes = self._judge(cell, network, self.evaluation, journal)
        for domain in self._others(cell):
            outcomes += self._judge(cell, network, accuracy, journal, domain=domain)
        return outcomes + self._cost(cell, metadata, outcomes[0].row)

    def _attack(
        self,
        attack: FurtherAttack,
        cell: Cell,
        network: TimmModel,
        metadata: Mapping[str, Any],
        journal: Path,
    ) -> list[Outcome]:
        """What a further attack adds; its rows note how many images were drawn, if not all are used."""
        config = attack.evaluation(self.evaluation)
        outcomes = self._judge(cell, network, config, journal, images=attack.images)
        every = len(self._view(cell, cell.domain, "test"))
        drawn = {"images": attack.images} if attack.images is not None and attack.images < every else {}
        return [
            Outcome(replace(row, protocol={**row.protocol, **drawn}), values)
            for row, values in outcomes
            if "attack" in row.protocol
        ]

    def _judge(
        self,
        cell: Cell,
        network: TimmModel,
        config: EvaluationConfig,
        journal: Path,
        *,
        domain: str | None = None,
        split: str = "test",
        images: int | None = None,
    ) -> list[Outcome]:
        view = self._view(cell, domain or cell.domain, split)
        return evaluate_per_image(
            network,
            view if images is None else view.drawn(images, seed=config.seed),
            config,
            workers=self.resources.workers or 0,
            journal=journal / (domain or cell.domain),
            method=cell.variant.name,
            train_domain=cell.domain,
            seed=cell.seed,
            selection=cell.train.selection,
        )

    def _cost(self, cell: Cell, metadata: Mapping[str, Any], like: Row) -> list[Outcome]:
        """Units of a training step, counted in one of eight images, and the seconds that training took.

        Where an attack's cost changes from step to step, it is the mean over the steps that were logged.
        """
        size, classes = cell.data.image_size, len(self.dataset.classes)
        method = cell.build(classes).to(PartialState().device).train()
        images = torch.rand(8, 3, size, size).to(method.model.mean)
        labels = torch.arange(8, device=images.device) % classes
        passes, gradients = step_cost(method, images, labels, mask=torch.ones_like(images[:, :1]))
        units = passes.units
        if isinstance(method, AdversarialMethod) and ATTACK_GRADIENTS in metadata:
            units += method.gradient_units(method.config) * (metadata[ATTACK_GRADIENTS] - gradients)
        values = dict(zip(COST, (units, float(metadata["training_seconds"])), strict=True))
        return [
            Outcome(replace(like, metric=metric, value=value, n=1, protocol={}), [value])
            for metric, value in values.items()
        ]

    def _figures(self, cell: Cell, network: TimmModel) -> dict[str, Figure]:
        if self.evaluation.explanation is None or network.head_form == "independent":
            return {}
        test = self._view(cell, cell.domain, "test")
        return {"case_study": case_study_of({cell.variant.name: network}, test, self.evaluation)}

    def _view(self, cell: Cell, domain: str, split: str) -> EvaluationView:
        return EvaluationView(self.dataset[domain], split, image_size=cell.data.image_size)


def resolved(data: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a data set with its places as absolute paths."""
    places = {name: data[name] and str(Path(data[name]).expanduser().resolve()) for name in PLACES}
    return {**data, **places}


def _attack_gradients(log: Path) -> dict[str, float]:
    """Mean number of gradients of a training attack that varies it, over the steps of a log."""
    if rank() != 0:
        return {}
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    found = [line[ATTACK_GRADIENTS] for line in lines if ATTACK_GRADIENTS in line]
    return {ATTACK_GRADIENTS: fmean(found)} if found else {}
