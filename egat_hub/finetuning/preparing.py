"""Everything about a fine-tuning run that could fail, checked before time is spent."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from egat_hub.backbone import Backbone
from egat_hub.data import DataConfig, open_dataset, verify
from egat_hub.engine import EvaluationConfig, ModelConfig, Resources, TrainConfig, Transfer
from egat_hub.engine.processes import join_processes
from egat_hub.experiments.checks import check_cell, check_evaluation
from egat_hub.experiments.one_run import OneRun, check_folder, train_domain
from egat_hub.experiments.variants import Variant, variant_of
from egat_hub.explanations import EXPLANATIONS
from egat_hub.finetuning.base import IMAGE_SIZE, Base, open_base
from egat_hub.finetuning.cell import TunedCell
from egat_hub.finetuning.old import Old, open_old
from egat_hub.methods.egat import EGATConfig

DEFAULT, FALLBACK = "egat", "pgd_at"
NEED_NO_MAP = "pgd_at, trades"
WARMUP = 10
"""A new head is warmed up for one part of so many of training, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        model: as for :func:`egat_hub.finetuning.base.open_base`.
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
    size = request.image_size or (base.backbone.image_size if base.label_names else IMAGE_SIZE)
    keeps_head = base.knows(dataset.classes)
    base = base.ordered(dataset.classes) if keeps_head else base
    variant = _variant(request, base)
    cell = TunedCell(
        variant=variant,
        domain=domain,
        seed=request.seed,
        model=ModelConfig(
            name=base.name,
            drop_rate=float(getattr(base.backbone.net, "drop_rate", 0.0) or 0.0),
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
        verify(dataset.values())
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
    reason = _without_map(base.backbone, config.explanation)
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


def _without_map(backbone: Backbone, explanation: str) -> str:
    """Why the network has no map to be guided, or nothing."""
    try:
        EXPLANATIONS[explanation]().check(backbone)
    except ValueError as error:
        return str(error)
    return ""
