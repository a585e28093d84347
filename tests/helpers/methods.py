"""Small networks and batches, quick to step and with every part awake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from egat_hub.models import TimmModel
from egat_hub.models.train_mode import is_batchnorm

SIZE = 96  # 3 x 3 positions in the last feature map
CLASSES = 4
FAST = {"attack_steps": 2, "step_size": 0.5}


def model(
    name: str = "test_resnet", *, freeze_bn: bool = True, size: int = SIZE, **model_args: Any
) -> TimmModel:
    """A network in train mode whose residual branches, running statistics and head are not trivial."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = timm.create_model(name, num_classes=CLASSES, **model_args)
        with torch.no_grad():
            for module in filter(is_batchnorm, net.modules()):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.1)
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
            net.get_classifier().weight.normal_(std=0.5)
        return TimmModel(net, image_size=size, freeze_bn=freeze_bn)


def batch(count: int = 6, *, size: int = SIZE, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images and labels; classes come up several times, the last of them once."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, size, size, generator=generator)
    return images, torch.tensor([0, 1, 0, 1, 0, 2, 1, 2][:count])


@contextmanager
def forwards(model: TimmModel) -> Iterator[list[Tensor]]:
    """The (normalised) batches that go through the network's trunk inside the block, in order."""
    seen: list[Tensor] = []
    normalize = model._normalized

    def counted(images: Tensor) -> Tensor:
        seen.append(normalize(images))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "_normalized", counted)
        yield seen
