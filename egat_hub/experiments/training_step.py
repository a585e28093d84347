"""A step of training, and what it is made of, as something to time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from egat_hub.backbone import Backbone
from egat_hub.experiments.timing import Job
from egat_hub.methods import Method
from egat_hub.methods.cost import STEP


def random_batch(
    batch_size: int, image_size: int, num_classes: int, device: str | torch.device
) -> tuple[Tensor, Tensor]:
    """Images [B,3,H,W] of noise in [0,1], and the classes [B] in turn."""
    images = torch.rand(batch_size, 3, image_size, image_size, device=device)
    return images, torch.arange(batch_size, device=device) % num_classes


def training_pass(
    backbone: Backbone, images: Tensor, labels: Tensor, *, precision: torch.dtype | None = None
) -> Job:
    """Forward and backward of a network alone: what three units take.

    Args:
        backbone: in train mode, on the device of the images.
        images: [B,3,H,W] in [0,1].
        labels: classes [B].
        precision: run the forward in autocast to that type.
    """

    def one_pass() -> None:
        with _autocast(images, precision):
            loss = F.cross_entropy(backbone(images), labels)
        loss.backward()
        backbone.zero_grad()

    return one_pass


def training_step(
    method: Method,
    images: Tensor,
    labels: Tensor,
    *,
    optimizer: Optimizer | None = None,
    precision: torch.dtype | None = None,
    accumulation: int = 1,
) -> Job:
    """Forward, backward and update, on the same images every time.

    Args:
        method: in train mode, on the device of the images.
        images: [B,3,H,W] in [0,1].
        labels: classes [B].
        optimizer: makes the update; by default Adam.
        precision: run the whole step in autocast to that type.
        accumulation: forwards and backwards before an update.
    """
    update = optimizer or torch.optim.Adam(method.parameters(), lr=1e-5)
    index, mask = torch.arange(len(images)), torch.ones_like(images[:, :1])

    def step() -> None:
        for _ in range(accumulation):
            with _autocast(images, precision):
                loss = method(images, labels, step=STEP, mask=mask, index=index)["loss"]
            loss.backward()
        update.step()
        update.zero_grad()

    return step


def _autocast(images: Tensor, precision: torch.dtype | None) -> AbstractContextManager[object]:
    return torch.autocast(images.device.type, precision) if precision else nullcontext()
