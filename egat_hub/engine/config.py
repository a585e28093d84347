"""What defines a trained model, and what only says how the machine gets there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from egat_hub.backbone import Backbone, create_backbone
from egat_hub.config import LATER, check_choices
from egat_hub.cores import own_cores


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network to train.

    Attributes:
        name: timm's name of it, with or without a weights tag.
        pretrained: start from timm's pretrained weights.
        drop_rate: dropout before the classifier.
        freeze_bn: keep BatchNorm in eval mode; by default exactly when the network is pretrained.
        options: further arguments of ``timm.create_model``.
    """

    name: str = "resnet50.tv2_in1k"
    pretrained: bool = True
    drop_rate: float = 0.1
    freeze_bn: bool | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, *, num_classes: int, image_size: int) -> Backbone:
        """Create the network; untrained weights come from the global random state."""
        return create_backbone(
            self.name,
            num_classes=num_classes,
            image_size=image_size,
            pretrained=self.pretrained,
            drop_rate=self.drop_rate,
            freeze_bn=self.pretrained if self.freeze_bn is None else self.freeze_bn,
            **self.options,
        )


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
        mixed_precision: ``"no"``, ``"fp16"`` or ``"bf16"``; by default what ``accelerate launch`` says.
        validate_every: steps between validations.
        selection: which weights are kept: ``"best_val_cAcc"``, those of the highest clean validation accuracy
            (the latest of equals), or ``"last"``.

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
    compile: bool = field(default=False, metadata=LATER)
    cuda_graphs: bool = field(default=False, metadata=LATER)
    mixed_precision: Literal["no", "fp16", "bf16"] | None = None
    validate_every: int = 200
    selection: Literal["best_val_cAcc", "last"] = "best_val_cAcc"

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
    """What changes no result: loading, logging, saving.

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
        return min(8, own_cores()) if torch.cuda.is_available() else 0
