"""Train one model from its options, or fine-tune one and compare before and after."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from accelerate import PartialState

from egat_hub.core.config import digest, from_dict, non_default
from egat_hub.core.distributed import join_processes, rank
from egat_hub.core.files import atomic_write_text
from egat_hub.core.registry import UnknownNameError
from egat_hub.core.results import Row
from egat_hub.data import DataConfig, Domain, EvaluationView, MultiDomain, open_dataset
from egat_hub.evaluation import evaluate_per_image
from egat_hub.experiments.config import RunConfig
from egat_hub.experiments.options import RunOptions, TrainOptions
from egat_hub.experiments.runner import RunResults, check_folder, measured_by, measured_once, run
from egat_hub.experiments.starting import SavedModel, check_runs, open_saved, resolve
from egat_hub.experiments.tables.before_after import BeforeAfter, Line
from egat_hub.explanations import EXPLANATIONS
from egat_hub.hub import from_pretrained
from egat_hub.methods import EGATConfig
from egat_hub.models import TimmModel
from egat_hub.training import TrainConfig

DEFAULT, FALLBACK = "egat", "pgd_at"
NEED_NO_MAP = "pgd_at, trades"
WARMUP = 10
"""Training steps per warm-up step of a new head, by default."""


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(RunOptions):
    """Options of ``egat-hub finetune``.

    Attributes:
        train: how the model is trained; by default the last weights are kept, since those of the highest
            clean accuracy may not be robust yet.
        method: training method; by default egat, or pgd_at if the network has no map for it.
        domain: domain to train on; needed if there are several.
        seed: seed of the new head, batches, dropout, attacks and mixup.
        old_data: data set that the model was trained on; by default the one in its metadata.
        old_data_dir: folder of that data set; not needed for generated images.
    """

    train: TrainConfig = TrainConfig(steps=1000, validate_every=100, selection="last")
    method: str | None = None
    domain: str | None = None
    seed: int = 0
    old_data: str | None = None
    old_data_dir: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A checked run, with its folder, data and saved model."""

    config: RunConfig
    output: Path
    dataset: MultiDomain
    saved: SavedModel | None
    options: RunOptions

    def run(self) -> RunResults:
        """Train, measure and save, as far as it is not done yet; every process calls this."""
        return run(self.config, self.output, self.options.resources, dataset=self.dataset)


def prepare(options: TrainOptions | FinetuneOptions) -> Prepared:
    """Open and check everything that a run needs; every process calls this.

    Raises:
        UnknownNameError: a data set, domain, method... that does not exist.
        FileNotFoundError, UnreadableImageError: model or data are missing or damaged.
        FileExistsError: the output folder holds something else.
        ValueError: parts that do not fit each other, or no domain named where there are several.
    """
    join_processes()
    dataset = open_dataset(options.data, verify=False)
    if options.domain is None and len(dataset) > 1:
        raise ValueError(
            f"{dataset.name} has the domains {', '.join(dataset)}; name the --domain to train on. Accuracy "
            "on the others is measured."
        )
    domain = dataset[options.domain or dataset.domains[0]].name
    saved = open_saved(options.model.name)
    config = resolve(options.run_config(options.method or DEFAULT, domain, options.seed), dataset, saved)
    place = "train"
    if isinstance(options, FinetuneOptions):
        place = "finetune"
        config = _with_fitting_method(config, options, dataset, saved)
        if config.finetune.head_warmup is None:
            new_head = saved is None or not saved.has_classes(dataset.classes)
            warmed_up = new_head and not config.finetune.freeze_backbone
            steps = config.train.steps // WARMUP if warmed_up else 0
            config = replace(config, finetune=replace(config.finetune, head_warmup=steps))
    output = options.output or Path("runs") / place / config.name
    check_folder(output, config, dataset)
    check_runs([config], dataset, saved, options.resources.trackers)
    return Prepared(config, output, dataset, saved, options)


def _with_fitting_method(
    config: RunConfig, options: FinetuneOptions, dataset: MultiDomain, saved: SavedModel | None
) -> RunConfig:
    if not isinstance(config.method_config, EGATConfig):
        return config
    size = {"num_classes": len(dataset.classes), "image_size": config.image_size}
    network = saved.model if saved else config.model.build(**size)
    try:
        EXPLANATIONS[config.method_config.explanation]().check(network)
    except ValueError as error:
        if options.method:
            raise ValueError(f"{error} Methods that need no map: {NEED_NO_MAP}.") from error
        warnings.warn(
            f"{error} {config.model.name} is fine-tuned by {FALLBACK} instead of {DEFAULT}; name a --method "
            f"that needs no map to choose: {NEED_NO_MAP}.",
            stacklevel=3,
        )
        return resolve(options.run_config(FALLBACK, config.domain, config.seed), dataset, saved)
    if config.finetune.freeze_backbone and not config.method_config.head_grad:
        warnings.warn(
            "With a frozen backbone, maps train only the head, and egat has head_grad=False: "
            "its terms on maps have no effect. Set --egat.head_grad true.",
            stacklevel=3,
        )
    return config


@dataclass(frozen=True)
class OldDomain:
    """The domain that a saved model was trained on, with labels in the order of its classes.

    ``missing`` is the reason why it is not available.
    """

    domain: Domain | None
    data: DataConfig | None = None
    missing: str = ""


def open_old_domain(
    saved: SavedModel | None, source: str, *, name: str | None = None, data_dir: str | None = None
) -> OldDomain:
    """Open the training domain in the metadata of a model; without name or folder, only generated images.

    Args:
        saved: the model; None for a network of timm.
        source: its name, for messages.
        name: data set; by default the one in the metadata.
        data_dir: its folder.

    Raises:
        FileNotFoundError, UnreadableImageError, UnknownNameError: a named data set is not available.
        ValueError: one is named for a model whose domain is unknown, or it has other classes.
    """
    asked = bool(name or data_dir)
    try:
        return _open_old_domain(saved, source, name, data_dir, asked)
    except (ValueError, UnknownNameError) as error:
        if asked:
            raise
        return OldDomain(None, missing=str(error))


def _open_old_domain(
    saved: SavedModel | None, source: str, name: str | None, data_dir: str | None, asked: bool
) -> OldDomain:
    metadata = saved.metadata if saved else {}
    domain, recorded = metadata.get("train_domain"), metadata.get("data")
    if saved is None or not domain or not isinstance(recorded, dict):
        remedy = " Leave --old_data and --old_data_dir out." if asked else ""
        raise ValueError(f"The metadata of {source} do not contain its training data.{remedy}")
    data = from_dict(DataConfig, {**recorded, "image_size": saved.model.image_size})
    if not asked and data.name != "synthetic":
        raise ValueError(f"give --old_data_dir, the folder of {data.name} with its domain {domain}")
    if name and name != data.name:
        data = DataConfig(name, image_size=data.image_size, split_seed=data.split_seed)
    data = replace(data, dir=data_dir)
    opened = open_dataset(data, [str(domain)], verify=rank() == 0)
    if not saved.has_classes(opened.classes):
        raise ValueError(
            f"Expected the old data to have the classes of {saved.name}, {', '.join(saved.label_names)}; "
            f"{data.name} has {', '.join(opened.classes)}. Name the data that it was trained on."
        )
    return OldDomain(opened[opened.domains[0]].ordered(saved.label_names), data)


@dataclass(frozen=True)
class FinetuneResults:
    """Folder of a fine-tuned model, for ``from_pretrained``, and its results before and after."""

    model: Path
    table: BeforeAfter


def finetune(options: FinetuneOptions) -> FinetuneResults:
    """Measure, fine-tune, measure again and save, as far as it is not done yet; every process calls this.

    The folder of the run gets ``before_after.md`` and ``before_after.csv`` besides the files of a run. Errors
    are those of :func:`prepare`.
    """
    prepared = prepare(options)
    config, saved, dataset = prepared.config, prepared.saved, prepared.dataset
    source = saved.name if saved else config.model.name
    keeps_head = saved is not None and saved.has_classes(dataset.classes)
    saved = saved.ordered(dataset.classes) if saved and keeps_head else saved
    old = open_old_domain(saved, source, name=options.old_data, data_dir=options.old_data_dir)
    new = dataset[config.domain]
    measure = partial(_measured, prepared, old)
    results = prepared.run()
    before_old = measure("before", saved.model, old.domain) if saved else []
    before_new = measure("before", saved.model, new) if saved and keeps_head else []
    after_old = measure("after", from_pretrained(results.model).model, old.domain if keeps_head else None)
    after_new = [row for row in results.rows if row.test_domain == config.domain]
    shared = f"{source} has no class names"
    if saved:
        known = len(set(saved.label_names) & set(dataset.classes))
        shared = f"{known} of the {len(dataset.classes)} classes are among the old {len(saved.label_names)}"
    no_head = "" if keeps_head else f"the head is new; {shared}"
    where = f"{old.domain.dataset}, {old.domain.name}" if old.domain else "not given"
    here = f"{new.dataset}, {new.name}"
    note = f"{source} before, {config.label} after, seed {config.seed}, weights: {config.train.selection}"
    table = BeforeAfter(
        (
            Line("before", "old", where, before_old, old.missing),
            Line("before", "new", here, before_new, no_head),
            Line("after", "old", where, after_old, no_head or old.missing),
            Line("after", "new", here, after_new),
        ),
        (note,),
    )
    if rank() == 0:
        atomic_write_text(prepared.output / "before_after.md", table.markdown() + "\n")
        atomic_write_text(prepared.output / "before_after.csv", table.csv())
    PartialState().wait_for_everyone()
    return FinetuneResults(results.model, table)


def _measured(
    prepared: Prepared, old: OldDomain, when: str, model: TimmModel, domain: Domain | None
) -> list[Row]:
    """Rows on the test split of a domain, in images of the model's size."""
    if domain is None:
        return []
    config, metadata = prepared.config, prepared.saved.metadata if prepared.saved else {}
    before = when == "before"
    where, data = ("old", old.data) if domain is old.domain else ("new", config.data)
    settings = digest([*measured_by(config.evaluation), data and non_default(data)])
    measure = partial(
        evaluate_per_image,
        model.to(PartialState().device),
        EvaluationView(domain, "test", image_size=model.image_size),
        config.evaluation,
        workers=prepared.options.resources.workers or 0,
        method=str(metadata.get("method", "")) if before else config.label,
        train_domain=str(metadata.get("train_domain", "")) if before else config.domain,
        seed=config.seed,
    )
    path = prepared.output / f"{when}_{where}_{settings}.jsonl"
    return [row for row, _ in measured_once(path, lambda journal: measure(journal=journal))]
