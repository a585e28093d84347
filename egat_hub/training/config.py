"""Configs of the model, of training, of transfer, and of resources."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from egat_hub.core.config import check_choices
from egat_hub.core.distributed import cpu_count
from egat_hub.models import TimmModel


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """How the layers below the head are trained; by default like the head.

    The head is the last layer of the network, as timm's ``get_classifier`` gives it.

    Attributes:
        layer_decay: learning rate of a layer relative to the next one towards the head, in (0, 1], by timm's
            grouping of layers.
        head_warmup: first steps, in which only the head of the network is trained and BatchNorm keeps its
            statistics; by default none, and in fine-tuning a tenth of training for a new head. A step costs
            as much as later ones.
        freeze_backbone: train only the head; BatchNorm keeps its statistics.

    Raises:
        ValueError: a number out of its range, or a frozen backbone with settings of how it is trained.
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
                "A frozen backbone is not trained after a head_warmup, nor with a layer_decay; leave these "
                "out, or freeze_backbone."
            )

    @property
    def warmup_steps(self) -> int:
        """Steps of the head's warm-up."""
        return self.head_warmup or 0

    def check(self, steps: int) -> None:
        """Check that the warm-up ends before training does.

        Raises:
            ValueError: it does not.
        """
        if self.warmup_steps >= steps:
            raise ValueError(
                f"Expected a head_warmup shorter than training, got {self.head_warmup} of {steps} steps. To "
                "train the head alone, use freeze_backbone."
            )

    def lr_scales(self, model: TimmModel) -> dict[nn.Parameter, float]:
        """Learning rates that ``layer_decay`` gives the network's parameters, relative to that of the run."""
        if self.layer_decay == 1:
            return {}
        groups = param_groups_layer_decay(model.net, layer_decay=self.layer_decay)
        return {parameter: group["lr_scale"] for group in groups for parameter in group["params"]}

    @contextmanager
    def applied(self, model: TimmModel) -> Iterator[None]:
        """A frozen backbone takes no gradients inside."""
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
    """All parameters of a network but those of its head."""
    head = set(model.classifier.parameters())
    return [parameter for parameter in model.parameters() if parameter not in head]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a network is trained. The defaults are those of the paper's protocol.

    Attributes:
        steps: optimiser steps.
        batch_size: images in a step, over all processes and micro-batches.
        optimizer: timm's name of it (``timm.optim.list_optimizers()``).
        lr: learning rate, constant.
        weight_decay: not applied to biases and normalisation layers.
        clip_grad: largest norm of the gradient.
        accumulation: micro-batches that a process makes of its part of the batch.
        ema_decay: decay of an average of the weights, which is then what is validated and kept.
        compile: run the network through ``torch.compile`` while it trains; the first steps take minutes.
        cuda_graphs: launch training attacks as CUDA graphs, which is quicker where batches are small.
        mixed_precision: ``"no"``, ``"fp16"`` or ``"bf16"``; by default that of ``accelerate launch``.
        validate_every: steps between validations.
        selection: which weights are kept: ``"best_val_clean_accuracy"``, of the best validation accuracy (the
            latest of equals), or ``"last"``.

    Raises:
        ValueError: a number out of its range, an unknown precision, or ``compile`` and ``cuda_graphs``.
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
            raise ValueError("train.compile and train.cuda_graphs do not go together. Leave out one of them.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"Expected ema_decay in (0, 1), got {self.ema_decay}.")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Loading, logging and saving; nothing here changes a result.

    Attributes:
        workers: processes that load images; by default none, but up to 8 for training where there is a GPU.
        cache_gib: memory for decoded training images in each process, in GiB; images beyond it are decoded
            whenever they are seen, as all are where none is seen twice.
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
        """Processes that load training images; without a GPU, training itself takes every core."""
        if self.workers is not None:
            return self.workers
        return min(8, cpu_count()) if torch.cuda.is_available() else 0
