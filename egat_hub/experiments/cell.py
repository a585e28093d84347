"""One cell of an experiment: a method on a domain with a seed, trained, measured and saved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from matplotlib.figure import Figure

from egat_hub.backbone import Backbone
from egat_hub.collective import gather_objects, rank
from egat_hub.config import digest, to_dict
from egat_hub.data import DataConfig, EvaluationView, MultiDomain, TrainingView
from egat_hub.engine import EvaluationConfig, ModelConfig, Resources, TrainConfig, evaluate, train
from egat_hub.engine.measuring import PROTOCOL
from egat_hub.experiments.figures import case_study_of
from egat_hub.hub import from_pretrained, save_pretrained
from egat_hub.methods import METHODS, Method, MethodConfig
from egat_hub.randomness import derive_seed
from egat_hub.results import Row, read_rows, write_rows

MODEL = "model"
PACKAGES = ("egat-hub", "torch", "timm", "accelerate")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Everything that decides what a trained model is.

    Attributes:
        method: name of the method.
        method_config: its config.
        domain: domain to train on.
        seed: of weights, batches, dropout, attacks and mixup.
        model: the network.
        data: the data set.
        train: how it is trained.
    """

    method: str
    method_config: MethodConfig
    domain: str
    seed: int
    model: ModelConfig
    data: DataConfig
    train: TrainConfig

    @property
    def name(self) -> str:
        """Name of the run's folder; equal cells have equal names, others do not."""
        data = replace(
            self.data, data_dir=_resolved(self.data.data_dir), masks_dir=_resolved(self.data.masks_dir)
        )
        return f"{self.method}_{self.domain}_seed{self.seed}_{digest(replace(self, data=data))}"

    def build(self, num_classes: int) -> Method:
        """The method around a new network; the same weights for every method of a seed."""
        torch.manual_seed(derive_seed(self.seed, "weights"))
        backbone = self.model.build(num_classes=num_classes, image_size=self.data.image_size)
        return METHODS[self.method](backbone, self.method_config, seed=self.seed)


def run_cell(
    cell: Cell,
    dataset: MultiDomain,
    *,
    test_domains: Sequence[str],
    evaluation: EvaluationConfig,
    output: Path,
    resources: Resources,
) -> list[Row]:
    """Train, measure and save, or do what of it is not done yet; every process calls this function.

    The run's folder is ``output/cell.name``. It ends up with ``config.json``, ``log.jsonl``,
    ``results_<digest>.json`` and ``model/``, a folder for ``from_pretrained``. A finished model is not
    trained again, whatever is to be measured; a run that was stopped goes on from its checkpoint.

    Args:
        cell: what to train.
        dataset: has the training domain and the test domains.
        test_domains: further domains, on which accuracy is measured.
        evaluation: what is measured on the test split of the training domain.
        output: folder of the experiment.
        resources: loading, logging, saving.
    """
    folder = output / cell.name
    others = [domain for domain in test_domains if domain != cell.domain]
    measured = to_dict(replace(evaluation, batch_size=1))
    results = folder / f"results_{digest([PROTOCOL, measured, others])}.json"
    if _main_says(results.exists):
        return read_rows(results)
    folder.mkdir(parents=True, exist_ok=True)
    if rank() == 0:
        (folder / "config.json").write_text(json.dumps(to_dict(cell), indent=2) + "\n")
    if _main_says((folder / MODEL).exists):
        classifier = from_pretrained(folder / MODEL)
        backbone, metadata = classifier.backbone.to(PartialState().device), classifier.metadata
    else:
        backbone, metadata = _train(cell, dataset, folder, resources)
    rows = _measure(cell, backbone, dataset, others, evaluation, resources)
    if rank() == 0:
        save_pretrained(
            backbone,
            folder / MODEL,
            label_names=dataset.classes,
            metadata=metadata,
            rows=rows,
            figures=_figures(cell, backbone, dataset, evaluation),
        )
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        write_rows(results, rows)
    PartialState().wait_for_everyone()
    return rows


def _train(
    cell: Cell, dataset: MultiDomain, folder: Path, resources: Resources
) -> tuple[Backbone, dict[str, Any]]:
    domain, size = dataset[cell.domain], cell.data.image_size
    method = cell.build(len(dataset.classes))
    source = method.backbone.net.pretrained_cfg if cell.model.pretrained else {}
    trained = train(
        method,
        TrainingView(domain, "train", image_size=size, seed=cell.seed),
        EvaluationView(domain, "val", image_size=size),
        cell.train,
        folder,
        seed=cell.seed,
        resources=resources,
    )
    metadata = {
        "method": cell.method,
        "dataset": dataset.name,
        "train_domain": cell.domain,
        "seed": cell.seed,
        "config": to_dict(cell.method_config),
        "model": to_dict(cell.model),
        "train": to_dict(cell.train),
        "best_step": trained.best_step,
        "val_accuracy": trained.val_accuracy,
        "training_seconds": round(trained.seconds, 1),
        "versions": {name: version(name) for name in PACKAGES},
    }
    if source.get("tag"):
        metadata["base_model"] = f"{source['architecture']}.{source['tag']}"
    return trained.backbone, metadata


def _measure(
    cell: Cell,
    backbone: Backbone,
    dataset: MultiDomain,
    others: Sequence[str],
    evaluation: EvaluationConfig,
    resources: Resources,
) -> list[Row]:
    accuracy_only = EvaluationConfig(epsilons=(), explanation=None, batch_size=evaluation.batch_size)
    views = {
        domain: EvaluationView(dataset[domain], "test", image_size=cell.data.image_size) for domain in others
    }
    tests = [(_test(cell, dataset), evaluation), *((view, accuracy_only) for view in views.values())]
    return [
        row
        for view, config in tests
        for row in evaluate(
            backbone,
            view,
            config,
            method=cell.method,
            train_domain=cell.domain,
            seed=cell.seed,
            selection=cell.train.selection,
            workers=resources.workers,
        )
    ]


def _figures(
    cell: Cell, backbone: Backbone, dataset: MultiDomain, evaluation: EvaluationConfig
) -> dict[str, Figure]:
    if evaluation.explanation is None or backbone.head_form == "independent":
        return {}
    return {"case_study": case_study_of({cell.method: backbone}, _test(cell, dataset), evaluation)}


def _test(cell: Cell, dataset: MultiDomain) -> EvaluationView:
    return EvaluationView(dataset[cell.domain], "test", image_size=cell.data.image_size)


def _resolved(folder: str | None) -> str | None:
    return None if folder is None else str(Path(folder).expanduser().resolve())


def _main_says(question: Callable[[], bool]) -> bool:
    """The main process's answer, in all processes."""
    return gather_objects(question() if rank() == 0 else False)[0]
