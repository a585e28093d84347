"""Everything about a fine-tuning run that could fail, checked before time is spent."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from egat_hub.core.config import from_dict, to_dict
from egat_hub.core.distributed import join_processes, rank
from egat_hub.core.randomness import derive_seed
from egat_hub.core.registry import UnknownNameError
from egat_hub.data import DataConfig, Domain, open_dataset, verify_images
from egat_hub.evaluation import EvaluationConfig
from egat_hub.evaluation.journal import hash_of_weights
from egat_hub.experiments.cell import Cell
from egat_hub.experiments.checks import check_cell, check_evaluation
from egat_hub.experiments.single import OneRun, check_folder, train_domain
from egat_hub.experiments.variants import Variant, variant_of
from egat_hub.explanations import EXPLANATIONS
from egat_hub.hub import from_pretrained
from egat_hub.hub.layout import model_folder, model_name, shipped_models
from egat_hub.hub.loading import resize
from egat_hub.methods import METHODS, EGATConfig, Method
from egat_hub.models import TimmModel, create_model
from egat_hub.models.factory import new_head, reorder_head
from egat_hub.training import ModelConfig, Resources, TrainConfig, Transfer

IMAGE_SIZE = 224
"""Side of the images for weights of timm's, unless told otherwise."""

DROP_RATE = 0.1
"""Dropout before the classifier, for weights of timm's."""


@dataclass(frozen=True, eq=False)
class Base:
    """A model and what is known of it.

    Attributes:
        name: a model of the Hub, timm's name of weights, or what a saved model would be called.
        model: the network.
        label_names: the classes that its head knows by name; none for weights of timm's.
        metadata: how the model came to be.
    """

    name: str
    model: TimmModel
    label_names: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def weights(self) -> str:
        """What tells these weights from others."""
        return hash_of_weights(self.model)[:16]

    def knows(self, classes: Sequence[str]) -> bool:
        """Whether these are the classes of the head, in any order."""
        return sorted(classes) == sorted(self.label_names)

    def ordered(self, classes: Sequence[str]) -> Base:
        """The same model with its classes in another order.

        Raises:
            ValueError: a head that cannot be put into another order.
        """
        if tuple(classes) == self.label_names:
            return self
        network = copy.deepcopy(self.model)
        reorder_head(network, [self.label_names.index(name) for name in classes])
        return replace(self, model=network, label_names=tuple(classes))


def open_base(source: str, *, image_size: int | None = None) -> Base:
    """Load the model to start from.

    Args:
        source: folder of a saved model or of a run, the name of a model that the package knows,
            ``organisation/name`` or ``organisation/name@revision`` on the Hub, or timm's name of a network,
            whose pretrained weights are loaded.
        image_size: side of the images to come, where timm makes the network.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, OSError: a model that cannot be had.
        ValueError: a model that is damaged, a network that timm does not know, or has no weights of, or one
            that has no map of positions.
    """
    folder = Path(source).expanduser()
    if folder.exists():
        classifier = from_pretrained(model_folder(folder))
        name = model_name(classifier.model.architecture, classifier.metadata)
    elif source in shipped_models() or ("/" in source and ":" not in source):
        name, classifier = source, from_pretrained(source)
    else:
        return _of_timm(source, image_size or IMAGE_SIZE)
    return Base(name, classifier.model, classifier.label_names, classifier.metadata)


def _of_timm(name: str, image_size: int) -> Base:
    try:
        network = create_model(name, num_classes=2, image_size=image_size, drop_rate=DROP_RATE)
    except RuntimeError as error:
        raise ValueError(
            f"timm cannot load pretrained weights of {name!r}: {error} See timm.list_pretrained()."
        ) from error
    tag = network.net.pretrained_cfg.get("tag")
    return Base(f"{network.architecture}.{tag}" if tag else network.architecture, network)


GENERATED = "synthetic"


@dataclass(frozen=True)
class Old:
    """The domain, or why there is none.

    Attributes:
        domain: labels count the classes in the order of the model; its split is that of training.
        data: where it comes from.
        missing: why there is none, a sentence.
    """

    domain: Domain | None
    data: DataConfig | None = None
    missing: str = ""


def open_old(base: Base, name: str | None = None, data_dir: str | None = None) -> Old:
    """Open the old domain: by the metadata of the model and what is given here, or generated ones unasked.

    Args:
        base: the model; its classes are to be in their final order.
        name: the data set, by default the one in the metadata.
        data_dir: its folder.

    Raises:
        FileNotFoundError, UnreadableImageError, UnknownNameError: a data set that is named but not there.
        ValueError: one that is named for a model of which the domain is not known, or with other classes.
    """
    asked = bool(name or data_dir)
    try:
        return _open(base, name, data_dir, asked)
    except (ValueError, UnknownNameError) as error:
        if asked:
            raise
        return Old(None, missing=str(error))


def _open(base: Base, name: str | None, data_dir: str | None, asked: bool) -> Old:
    domain, recorded = base.metadata.get("train_domain"), base.metadata.get("data")
    if not domain or not isinstance(recorded, dict):
        raise ValueError(
            f"{base.name} does not say what it was trained on."
            + (" Leave --old-data and --old-data-dir out." if asked else "")
        )
    data = from_dict(DataConfig, {**recorded, "image_size": base.model.image_size})
    if not asked and data.name != GENERATED:
        return Old(None, missing=f"give --old-data-dir, the folder of {data.name} with its domain {domain}")
    data = replace(data, name=name or data.name, data_dir=data_dir)
    opened = open_dataset(data, [str(domain)], verify=rank() == 0)
    if not base.knows(opened.classes):
        raise ValueError(
            f"Expected the old data to have the classes of {base.name}, {', '.join(base.label_names)}; "
            f"{data.name} has {', '.join(opened.classes)}. Name the data that it was trained on."
        )
    return Old(opened[opened.domains[0]].ordered(base.label_names), data)


TOLD = ("method", "dataset", "train_domain", "seed", "selection")
"""What the card says of how the model came to be that was fine-tuned."""


@dataclass(frozen=True, kw_only=True)
class TunedCell(Cell):
    """As :class:`Cell`, from weights that are there.

    Attributes:
        base: the model to start from.
        tuning: how the layers below the head are trained.
        keeps_head: whether the head stays, because it knows the classes of the data, in their order.
    """

    base: Base
    tuning: Transfer
    keeps_head: bool

    @property
    def settings(self) -> dict[str, Any]:
        started = {"base": self.base.weights, "keeps_head": self.keeps_head}
        return {**super().settings, **started, "transfer": to_dict(self.tuning)}

    @property
    def transfer(self) -> Transfer:
        return self.tuning

    def build(self, num_classes: int) -> Method:
        """The method around a copy of the base's network; new heads of a seed are the same."""
        torch.manual_seed(derive_seed(self.seed, "weights"))
        network, size = copy.deepcopy(self.base.model), self.data.image_size
        if not self.keeps_head:
            new_head(network, num_classes)
        if size != network.image_size:
            resize(network.net, size)
        tuned = TimmModel(network.net, image_size=size, freeze_bn=bool(self.model.freeze_bn))
        return METHODS[self.variant.method](tuned, self.variant.config, seed=self.seed)

    def origin(self, network: TimmModel) -> dict[str, Any]:
        told = {key: self.base.metadata[key] for key in TOLD if key in self.base.metadata}
        head = "kept" if self.keeps_head else "new"
        origin = {
            "base_model": self.base.name,
            "base": {**told, "weights": self.base.weights, "head": head},
            "transfer": to_dict(self.tuning),
        }
        arguments = self.base.metadata.get("model_args")
        return {**origin, "model_args": arguments} if arguments else origin


DEFAULT, FALLBACK = "egat", "pgd_at"
NEED_NO_MAP = "pgd_at, trades"
WARMUP = 10
"""A new head is warmed up for one part of so many of training, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        model: as for :func:`egat_hub.experiments.finetuning.open_base`.
        data: the new data; their ``image_size`` does not count.
        image_size: side of the images in pixels; by default the model's, or 224 for weights of timm's.
        domain: the one to train on; needed where there are several.
        method: name of a training method; by default EGAT, or PGD-AT where the network has no map for it.
        options: fields of the method's config.
        epsilon: radius of the attack in training and evaluation.
        head_warmup: steps that train the head alone; by default a tenth of training for a new head, none for
            one that is kept.
        layer_decay: as for :class:`egat_hub.engine.Transfer`.
        freeze_backbone: as for :class:`egat_hub.engine.Transfer`.
        freeze_bn: keep BatchNorm in eval mode throughout.
        seed: of the new head, batches, dropout, attacks and mixup.
        train: how the network is trained.
        evaluation: what is measured; its epsilons do not count.
        old_data: data set that the model was trained on; by default the one that it names.
        old_data_dir: its folder.
        resources: loading, logging, saving.
        output: folder of the run; by default one in ``runs``, named by what decides the run.
    """

    model: str
    data: DataConfig
    train: TrainConfig
    evaluation: EvaluationConfig
    resources: Resources
    image_size: int | None = None
    domain: str | None = None
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    epsilon: float = 0.01
    head_warmup: int | None = None
    layer_decay: float = 1.0
    freeze_backbone: bool = False
    freeze_bn: bool = True
    seed: int = 0
    old_data: str | None = None
    old_data_dir: str | None = None
    output: Path | None = None


@dataclass(frozen=True)
class Ready:
    """A run whose data are open and whose parts are known to fit.

    Attributes:
        cell: the run; its ``base`` has the classes in the order of the data, where it knows them.
        bench: trains, measures, and saves it.
        old: the old domain, if it is there.
    """

    cell: TunedCell
    bench: OneRun
    old: Old


def prepare(request: Request) -> Ready:
    """Open and check everything that could fail; every process calls this.

    Raises:
        UnknownNameError: a data set, domain, method... that does not exist.
        FileNotFoundError, UnreadableImageError: model or data are not there, or damaged.
        FileExistsError: the output folder holds something else.
        ValueError: parts that do not fit each other.
    """
    state = join_processes()
    dataset = open_dataset(request.data, verify=False)
    domain = train_domain(dataset, request.domain)
    base = open_base(request.model, image_size=request.image_size)
    size = request.image_size or (base.model.image_size if base.label_names else IMAGE_SIZE)
    keeps_head = base.knows(dataset.classes)
    base = base.ordered(dataset.classes) if keeps_head else base
    variant = _variant(request, base)
    cell = TunedCell(
        variant=variant,
        domain=domain,
        seed=request.seed,
        model=ModelConfig(
            name=base.name,
            drop_rate=float(getattr(base.model.net, "drop_rate", 0.0) or 0.0),
            freeze_bn=request.freeze_bn,
        ),
        data=replace(request.data, image_size=size),
        train=request.train,
        base=base,
        tuning=_transfer(request, keeps_head),
        keeps_head=keeps_head,
    )
    method = check_cell(cell, dataset, [domain])
    evaluation = replace(request.evaluation, epsilons=(request.epsilon,))
    check_evaluation(method, evaluation, size)
    output = request.output or Path("runs") / "finetune" / cell.name
    check_folder(output, cell)
    old = open_old(base, request.old_data, request.old_data_dir)
    if state.is_main_process:
        verify_images(dataset.values())
    state.wait_for_everyone()
    return Ready(cell, OneRun(dataset, dataset.domains, evaluation, output, request.resources), old)


def _transfer(request: Request, keeps_head: bool) -> Transfer:
    warmup = request.head_warmup
    if warmup is None:
        warmup = 0 if keeps_head or request.freeze_backbone else request.train.steps // WARMUP
    return Transfer(
        layer_decay=request.layer_decay, head_warmup=warmup, freeze_backbone=request.freeze_backbone
    )


def _variant(request: Request, base: Base) -> Variant:
    variant = variant_of(request.method or DEFAULT, request.options, request.epsilon)
    config = variant.config
    if not isinstance(config, EGATConfig):
        return variant
    reason = _without_map(base.model, config.explanation)
    if reason and request.method:
        raise ValueError(f"{reason} Methods that need no map: {NEED_NO_MAP}.")
    if reason:
        warnings.warn(
            f"{reason} {base.name} is fine-tuned by {FALLBACK} instead of {DEFAULT}; name a --method that "
            f"needs no map to choose: {NEED_NO_MAP}.",
            stacklevel=3,
        )
        return variant_of(FALLBACK, request.options, request.epsilon)
    if request.freeze_backbone and not config.head_grad:
        warnings.warn(
            "With a frozen backbone, maps are trained through the head alone, and egat has head_grad=False: "
            "its terms on maps change nothing. Give --options.head_grad true.",
            stacklevel=3,
        )
    return variant


def _without_map(network: TimmModel, explanation: str) -> str:
    """Why the network has no map to be guided, or nothing."""
    try:
        EXPLANATIONS[explanation]().check(network)
    except ValueError as error:
        return str(error)
    return ""
