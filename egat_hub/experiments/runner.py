"""Train, evaluate and save one run; it skips finished parts and resumes after interruptions."""

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

from egat_hub.core.config import digest, non_default, to_dict
from egat_hub.core.distributed import broadcast_from_main, join_processes, rank
from egat_hub.core.files import atomic_write_text
from egat_hub.core.results import Outcome, Row, read_outcomes, write_outcomes
from egat_hub.data import DataConfig, EvaluationView, MultiDomain, TrainingView, open_dataset
from egat_hub.evaluation import EvaluationConfig, evaluate_per_image
from egat_hub.evaluation.config import PROTOCOL
from egat_hub.experiments.config import PATHS, ExtraAttack, RunConfig
from egat_hub.experiments.plots import case_study_of
from egat_hub.experiments.starting import SavedModel, build_method, open_saved, origin, resolve
from egat_hub.hub import from_pretrained, save_pretrained
from egat_hub.methods import AdversarialMethod
from egat_hub.metrics.training_cost import count_passes
from egat_hub.models import TimmModel
from egat_hub.training import Resources, train
from egat_hub.training.checkpoints import check_data

MODEL = "model"
CONFIG = "config.json"
LOG = "log.jsonl"
ATTACK_GRADIENTS = "attack_gradients"
OUTCOMES = {"test": "outcomes", "val": "validation"}
"""Prefixes of result files by split."""

COST = ("step_cost", "training_seconds")
PACKAGES = ("egat-hub", "torch", "timm", "accelerate")


@dataclass(frozen=True)
class RunResults:
    """A finished run.

    Attributes:
        config: what was run.
        folder: ``config.json``, ``log.jsonl``, ``outcomes_<digest>.jsonl``, an ``attack_<digest>.jsonl`` for
            each extra attack, and ``model/``.
        outcomes: result rows with the values of single images.
    """

    config: RunConfig
    folder: Path
    outcomes: tuple[Outcome, ...]

    @property
    def model(self) -> Path:
        """Folder of the saved model, for ``from_pretrained``."""
        return self.folder / MODEL

    @property
    def rows(self) -> list[Row]:
        """Result rows."""
        return [row for row, _ in self.outcomes]


def run(
    config: RunConfig,
    folder: str | Path,
    resources: Resources | None = None,
    *,
    dataset: MultiDomain | None = None,
) -> RunResults:
    """Train, evaluate and save a model; every process calls this.

    Skips what is finished, so a changed evaluation does not train again. An interrupted run resumes from its
    checkpoint, and an interrupted evaluation after the last measured batch, with the same results.

    Args:
        config: what to run.
        folder: folder of this run.
        resources: loading, logging, saving.
        dataset: the opened data set of the config; by default it is opened here.

    Raises:
        UnknownNameError, ValueError: parts of the config that do not exist, or do not fit each other.
        FileExistsError: the folder holds another run, or something else.
        FloatingPointError: the loss is no longer finite.
    """
    join_processes()
    folder = Path(folder)
    dataset = dataset or open_dataset(config.data)
    saved = open_saved(config.model.name)
    config = resolve(config, dataset, saved)
    check_folder(folder, config, dataset)
    finished = read_results(config, folder)
    return finished or _Run(config, folder, resources or Resources(), dataset, saved).complete()


def read_results(config: RunConfig, folder: Path) -> RunResults | None:
    """Results of a run with a resolved config, or None unless it is finished."""
    files = _files(config, folder)
    if not broadcast_from_main(lambda: all(path.exists() for path in files)):
        return None
    return _results(config, folder, [read_outcomes(path) for path in files])


def check_folder(folder: Path, config: RunConfig, dataset: MultiDomain) -> None:
    """Check that a folder is free, or holds this run, and warn if the images of its domain have changed.

    Raises:
        FileExistsError: the folder holds another run, or something else.
        ValueError: the data set has other classes than the run in the folder.
    """
    path = folder / CONFIG
    if not path.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(
                f"{folder} exists and is not the folder of a run. Choose another output folder."
            )
        return
    stored, now = json.loads(path.read_text()), _described(config, dataset)
    if stored.get("run") != now["run"]:
        changed = ", ".join(_changed(stored.get("run", {}), now["run"]))
        raise FileExistsError(
            f"{folder} holds a run with other settings ({changed}). Choose another output folder, or remove "
            "this one."
        )
    check_data(f"run in {folder}", stored, now)


def _described(config: RunConfig, dataset: MultiDomain) -> dict[str, Any]:
    """Content of ``config.json``: identity of the run, classes, and a digest of its images."""
    images = dataset[config.domain].images_digest
    return {"run": config.identity, "classes": list(dataset.classes), "images": images}


def _changed(stored: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name in sorted({*stored, *now}):
        one, other = stored.get(name), now.get(name)
        if isinstance(one, dict) or isinstance(other, dict):
            found += _changed(one or {}, other or {}, f"{prefix}{name}.")
        elif one != other:
            found.append(f"{prefix}{name}")
    return found


def _files(config: RunConfig, folder: Path) -> dict[Path, ExtraAttack | None]:
    """The files of the results, and the extra attack that each is of."""
    tests = [domain for domain in config.test_domains or () if domain != config.domain]
    own = digest([*measured_by(config.evaluation), config.split, tests])
    files: dict[Path, ExtraAttack | None] = {folder / f"{OUTCOMES[config.split]}_{own}.jsonl": None}
    for attack in config.extra_attacks:
        name = digest([PROTOCOL, config.split, non_default(attack), config.evaluation.seed])
        files[folder / f"attack_{name}.jsonl"] = attack
    return files


def measured_by(evaluation: EvaluationConfig) -> list[Any]:
    """Settings that affect the results of an evaluation, including the version of the protocol."""
    return [PROTOCOL, non_default(replace(evaluation, batch_size=EvaluationConfig().batch_size))]


def _results(config: RunConfig, folder: Path, found: Sequence[Sequence[Outcome]]) -> RunResults:
    """Outcomes under the label of the run, each metric and protocol once."""
    once: dict[str, Outcome] = {}
    for row, values in (outcome for outcomes in found for outcome in outcomes):
        key = digest([row.metric, row.test_domain, row.protocol])
        once.setdefault(key, Outcome(replace(row, method=config.label), values))
    return RunResults(config, folder, tuple(once.values()))


def measured_once(path: Path, measure: Callable[[Path], list[Outcome]]) -> list[Outcome]:
    """Outcomes in a file, or those of ``measure``, which are then written to it; every process calls this.

    ``measure`` gets the folder of a journal, which is removed once the file exists.
    """
    if broadcast_from_main(path.exists):
        return read_outcomes(path)
    found = measure(_journal(path))
    _write(path, found)
    return found


def _journal(path: Path) -> Path:
    return path.with_suffix(".journal")


def _write(path: Path, outcomes: Sequence[Outcome]) -> None:
    if rank() == 0:
        write_outcomes(path, outcomes)
        shutil.rmtree(_journal(path), ignore_errors=True)
    PartialState().wait_for_everyone()


@dataclass(frozen=True)
class _Run:
    """A run with its resolved config, opened data set, and the saved model that it starts from."""

    config: RunConfig
    folder: Path
    resources: Resources
    dataset: MultiDomain
    saved: SavedModel | None

    def complete(self) -> RunResults:
        self.folder.mkdir(parents=True, exist_ok=True)
        if rank() == 0 and not (self.folder / CONFIG).exists():
            text = json.dumps(_described(self.config, self.dataset), indent=2)
            atomic_write_text(self.folder / CONFIG, text + "\n")
        network, metadata = self._trained()
        files = _files(self.config, self.folder)
        found = {path: read_outcomes(path) for path in files if broadcast_from_main(path.exists)}
        missing = [path for path in files if path not in found]
        for path in missing:
            found[path] = self._measure(files[path], network, metadata, _journal(path))
            if path != missing[-1]:
                _write(path, found[path])
        results = _results(self.config, self.folder, [found[path] for path in files])
        if rank() == 0:
            self._save(network, metadata, [row for row in results.rows if row.metric not in COST])
            shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
        _write(missing[-1], found[missing[-1]])  # last, because it marks the run as finished
        return results

    def _trained(self) -> tuple[TimmModel, dict[str, Any]]:
        """The trained network and its metadata, from the folder if they are there."""
        if broadcast_from_main((self.folder / MODEL).exists):
            classifier = from_pretrained(self.folder / MODEL)
            return classifier.model.to(PartialState().device), classifier.metadata
        network, metadata = self._train()
        if rank() == 0:
            self._save(network, metadata, [])
        PartialState().wait_for_everyone()
        return network, metadata

    def _train(self) -> tuple[TimmModel, dict[str, Any]]:
        config, classes = self.config, self.dataset.classes
        domain = self.dataset[config.domain]
        method = build_method(config, classes, self.saved)
        started_from = origin(config, classes, self.saved, method.model)
        trained = train(
            method,
            TrainingView(domain, "train", image_size=config.image_size, seed=config.seed),
            EvaluationView(domain, "val", image_size=config.image_size),
            config.train,
            self.folder,
            seed=config.seed,
            resources=self.resources,
            finetune=config.finetune,
        )
        attack_gradients = {}
        if rank() == 0:  # mean over the logged steps, for a training attack that varies it
            lines = [json.loads(line) for line in (self.folder / LOG).read_text().splitlines()]
            if found := [line[ATTACK_GRADIENTS] for line in lines if ATTACK_GRADIENTS in line]:
                attack_gradients = {ATTACK_GRADIENTS: fmean(found)}
        model = replace(config.model, name=self.saved.name) if self.saved else config.model
        metadata = {
            "method": config.label,
            "dataset": self.dataset.name,
            "train_domain": config.domain,
            "seed": config.seed,
            "config": to_dict(config.method_config),
            "model": to_dict(model),
            "data": recorded(config.data),
            "images": domain.images_digest,
            "train": to_dict(config.train),
            "best_step": trained.best_step,
            "val_accuracy": trained.val_accuracy,
            "training_seconds": round(trained.seconds, 1),
            **attack_gradients,
            "versions": {name: version(name) for name in PACKAGES},
            **started_from,
        }
        return trained.model, metadata

    def _save(self, network: TimmModel, metadata: dict[str, Any], rows: Sequence[Row]) -> None:
        config, figures = self.config, {}
        if rows and config.evaluation.explanation and network.head_form != "independent":
            view = self._view(config.domain)
            figures["case_study"] = case_study_of({config.label: network}, view, config.evaluation)
        save_pretrained(
            network,
            self.folder / MODEL,
            label_names=self.dataset.classes,
            metadata=metadata,
            rows=rows,
            figures=figures,
        )

    def _measure(
        self, attack: ExtraAttack | None, network: TimmModel, metadata: Mapping[str, Any], journal: Path
    ) -> list[Outcome]:
        """What the evaluation measures, or what an extra attack adds."""
        config, view = self.config, self._view(self.config.domain)
        measure = partial(self._evaluated, network, journal)
        if attack is not None:
            subset = attack.images is not None and attack.images < len(view)
            drawn = view if attack.images is None else view.drawn(attack.images, seed=config.seed)
            noted = {"images": attack.images} if subset else {}
            return [
                Outcome(replace(row, protocol={**row.protocol, **noted}), values)
                for row, values in measure(drawn, attack.evaluation(config.evaluation))
                if "attack" in row.protocol
            ]
        outcomes = measure(view, config.evaluation)
        for domain in config.test_domains or ():
            if domain != config.domain:
                outcomes += measure(self._view(domain), config.evaluation.accuracy_only(epsilons=()))
        return outcomes + self._cost(metadata, outcomes[0].row)

    def _evaluated(
        self, network: TimmModel, journal: Path, view: EvaluationView, evaluation: EvaluationConfig
    ) -> list[Outcome]:
        return evaluate_per_image(
            network,
            view,
            evaluation,
            workers=self.resources.workers or 0,
            journal=journal / view.domain.name,
            method=self.config.label,
            train_domain=self.config.domain,
            seed=self.config.seed,
            selection=self.config.train.selection,
        )

    def _cost(self, metadata: Mapping[str, Any], like: Row) -> list[Outcome]:
        """Cost of a training step in forward-equivalents, and the training time in seconds.

        The cost is counted in a step on eight images. Where the cost of an attack varies, it is corrected to
        the mean over the steps that were logged.
        """
        size, classes = self.config.image_size, self.dataset.classes
        method = build_method(self.config, classes, self.saved).to(PartialState().device).train()
        images = torch.rand(8, 3, size, size).to(method.model.mean)
        labels = torch.arange(8, device=images.device) % len(classes)
        passes = count_passes(method, images, labels, mask=torch.ones_like(images[:, :1]))
        units = passes.units
        if isinstance(method, AdversarialMethod) and ATTACK_GRADIENTS in metadata:
            more = metadata[ATTACK_GRADIENTS] - passes.attack_gradients
            units += method.gradient_units(method.config) * more
        return [
            Outcome(replace(like, metric=metric, value=value, n=1, protocol={}), [value])
            for metric, value in zip(COST, (units, float(metadata["training_seconds"])), strict=True)
        ]

    def _view(self, domain: str) -> EvaluationView:
        return EvaluationView(self.dataset[domain], self.config.split, image_size=self.config.image_size)


def recorded(data: DataConfig) -> dict[str, Any]:
    """The fields of a data set that a saved model records: all but paths."""
    return {key: value for key, value in to_dict(data).items() if key not in PATHS}
