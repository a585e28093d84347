"""What can be trained through ``torch.compile``."""

from __future__ import annotations

import copy

import torch

from egat_hub.methods import Method
from egat_hub.methods.cost import count_passes


def check_compilable(method: Method) -> None:
    """Count the passes of a step of a copy of ``method``, on two random images.

    Raises:
        ValueError: the step takes second derivatives of the network.
    """
    probe = copy.deepcopy(method).train()
    size, mean = probe.backbone.image_size, probe.backbone.mean
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(mean)
    labels = torch.arange(2, device=mean.device)
    if count_passes(probe, images, labels, mask=torch.ones_like(images[:, :1])).through_backward:
        raise ValueError(
            f"A step of {type(method).__name__} takes second derivatives of the network, which torch.compile "
            "does not have. Leave out train.compile."
        )
