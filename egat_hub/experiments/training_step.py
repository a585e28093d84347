"""A step of training as something to time."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.optim import Optimizer

from egat_hub.experiments.timing import Job
from egat_hub.methods import Method
from egat_hub.methods.cost import STEP


def random_batch(
    batch_size: int, image_size: int, num_classes: int, device: str | torch.device
) -> tuple[Tensor, Tensor]:
    """Images [B,3,H,W] of noise in [0,1], and the classes [B] in turn."""
    images = torch.rand(batch_size, 3, image_size, image_size, device=device)
    return images, torch.arange(batch_size, device=device) % num_classes


def training_step(
    method: Method,
    images: Tensor,
    labels: Tensor,
    *,
    optimizer: Optimizer | None = None,
    bfloat16: bool = False,
) -> Job:
    """Forward, backward and update, on the same images every time.

    Args:
        method: in train mode, on the device of the images.
        images: [B,3,H,W] in [0,1].
        labels: classes [B].
        optimizer: makes the update; by default Adam.
        bfloat16: run the whole step in autocast to that type.
    """
    update = optimizer or torch.optim.Adam(method.parameters(), lr=1e-5)
    index, mask = torch.arange(len(images)), torch.ones_like(images[:, :1])

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16) if bfloat16 else nullcontext():
            loss = method(images, labels, step=STEP, mask=mask, index=index)["loss"]
        loss.backward()
        update.step()
        update.zero_grad()

    return step
