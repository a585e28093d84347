"""Configs of training, finetune and resources, and the optimizer that they describe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from torch import nn
from torch.optim import Optimizer

from egat_hub.core.config import check_choices
from egat_hub.core.distributed import cpu_count, world_size
from egat_hub.methods import Method
from egat_hub.models import TimmModel


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Training of the layers below the head; by default they are trained like the head.

    The head is what timm's ``get_classifier`` returns.

    Attributes:
        layer_decay: learning rate of a layer relative to the next one towards the head, in (0, 1], by timm's
            layer groups.
        head_warmup: number of first steps that train only the head, with frozen BatchNorm; by default 0, or
            when fine-tuning with a new head a tenth of the steps.
        freeze_backbone: train only the head, with frozen BatchNorm.

    Raises:
        ValueError: a value out of range, or ``freeze_backbone`` together with one of the others.
    """

    layer_decay: float = 1.0
    head_warmup: int | None = None
    freeze_backbone: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"Expected layer_decay in (0, 1], got {self.layer_decay}; 1 is none.")
        if self.warmup_steps < 0:
            raise ValueError(f"Expected head_warmup of at least 0 steps, got {self.head_warmup}.")
        if self.freeze_backbone and (self.head_warmup or self.layer_decay < 1):
            raise ValueError(
                "freeze_backbone cannot be combined with head_warmup or layer_decay. Leave out one of them."
            )

    @property
    def warmup_steps(self) -> int:
        """Number of warm-up steps."""
        return self.head_warmup or 0

    @contextmanager
    def applied(self, model: TimmModel) -> Iterator[None]:
        """Context in which a frozen backbone gets no gradients."""
        freeze_bn = model.freeze_bn
        frozen = [p for p in body(model) if p.requires_grad] if self.freeze_backbone else []
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            model.freeze_bn = freeze_bn
            for parameter in frozen:
                parameter.requires_grad_(True)


def body(model: TimmModel) -> list[nn.Parameter]:
    """All parameters of a network except its head."""
    head = set(model.classifier.parameters())
    return [parameter for parameter in model.parameters() if parameter not in head]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training options; defaults follow the paper's protocol.

    Attributes:
        steps: optimizer steps.
        batch_size: images per step over all processes and micro-batches.
        optimizer: timm's name of the optimizer (``timm.optim.list_optimizers()``).
        lr: learning rate (constant).
        weight_decay: weight decay, except for biases and normalization layers.
        clip_grad: maximum norm of the gradient.
        accumulation: micro-batches per step and process.
        ema_decay: decay of an average of the weights, which is then validated and saved instead.
        compile: train with ``torch.compile``; the first steps take minutes.
        cuda_graphs: run training attacks as CUDA graphs, which is faster for small batches.
        mixed_precision: ``"no"``, ``"fp16"`` or ``"bf16"``; by default that of ``accelerate launch``.
        validate_every: steps between validations.
        selection: which weights are saved: those with the ``"best_val_clean_accuracy"`` (the latest of
            equals), or the ``"last"``.

    Raises:
        ValueError: a value out of range, or ``compile`` together with ``cuda_graphs``.
    """

    steps: int = 5000
    batch_size: int = 32
    optimizer: str = "adam"
    lr: float = 5e-5
    weight_decay: float = 0.0
    clip_grad: float | None = None
    accumulation: int = 1
    ema_decay: float | None = None
    compile: bool = False
    cuda_graphs: bool = False
    mixed_precision: Literal["no", "fp16", "bf16"] | None = None
    validate_every: int = 200
    selection: Literal["best_val_clean_accuracy", "last"] = "best_val_clean_accuracy"

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("steps", "batch_size", "accumulation", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} of at least 1, got {getattr(self, name)}.")
        if self.clip_grad is not None and self.clip_grad <= 0:
            raise ValueError(f"Expected a positive clip_grad, got {self.clip_grad}.")
        if self.compile and self.cuda_graphs:
            raise ValueError("Choose train.compile or train.cuda_graphs, not both.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"Expected ema_decay in (0, 1), got {self.ema_decay}.")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Loading, logging and saving; these options do not affect results.

    Attributes:
        workers: processes that load images; by default up to 8 for training on a GPU, otherwise 0.
        cache_gib: memory in GiB per process for decoded training images.
        log_every: steps between lines in ``log.jsonl``.
        checkpoint_every: steps between checkpoints.
        trackers: names of Accelerate trackers (``"tensorboard"``, ``"wandb"``, ``"trackio"``...).
    """

    workers: int | None = None
    cache_gib: float = 1.0
    log_every: int = 10
    checkpoint_every: int = 200
    trackers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("cache_gib", 0), ("log_every", 1), ("checkpoint_every", 1)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"Expected {name} of at least {least}, got {value}.")

    @property
    def training_workers(self) -> int:
        """Processes that load training images; 0 without a GPU, where training uses all cores."""
        default = min(8, cpu_count()) if torch.cuda.is_available() else 0
        return default if self.workers is None else self.workers


def create_optimizer(
    method: Method, config: TrainConfig, finetune: FinetuneConfig | None = None
) -> Optimizer:
    """Create the optimizer of ``method``, with learning rates by layer and weight decay by kind of parameter.

    Raises:
        ValueError: an unknown optimizer, or a batch size or warm-up that does not fit.
    """
    finetune = finetune or FinetuneConfig()
    if finetune.warmup_steps >= config.steps:
        raise ValueError(
            f"Expected a head_warmup shorter than training, got {finetune.head_warmup} of {config.steps} "
            "steps. To train the head alone, use freeze_backbone."
        )
    parts = world_size() * config.accumulation
    if config.batch_size % parts:
        raise ValueError(
            f"batch_size counts all images of a step and must be divisible by processes x accumulation, got "
            f"{config.batch_size} for {world_size()} x {config.accumulation}. Use "
            f"{-(-config.batch_size // parts) * parts}."
        )
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    scales: dict[nn.Parameter, float] = {}
    undecayed = method.no_weight_decay()
    if finetune.layer_decay < 1:
        for layer in param_groups_layer_decay(method.model.net, layer_decay=finetune.layer_decay):
            scales |= dict.fromkeys(layer["params"], layer["lr_scale"])
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and name not in undecayed and not name.endswith(".bias")
            scale = method.lr_scale(name) * scales.get(parameter, 1.0)
            key = config.lr * scale, config.weight_decay if decayed else 0.0
            groups.setdefault(key, []).append(parameter)
    described = [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]
    return create_optimizer_v2(described, opt=config.optimizer, lr=config.lr)
