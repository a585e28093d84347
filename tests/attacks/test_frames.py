"""From a method's call to the network: at most nine frames of this package."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import egat_hub
from egat_hub.attacks import TRAINING_ATTACKS
from egat_hub.methods import EGAT

PACKAGE = Path(egat_hub.__file__).parent
LIMIT = 9


class Recorder(nn.Module):
    """Records the stack at its first forward in eval mode, which is that of the attack."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.frames = layer, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training and not self.frames:
            stack = traceback.extract_stack()
            self.frames = [f"{f.filename}:{f.lineno} {f.name}" for f in stack if inside(f.filename)]
        return self.layer(x)


def inside(filename: str) -> bool:
    return Path(filename).is_relative_to(PACKAGE)


@pytest.mark.parametrize("attack", TRAINING_ATTACKS)
def test_call_depth_from_egat_to_the_network(attack):
    net = timm.create_model("resnet18", num_classes=3)
    method = EGAT(net, attack_steps=1, training_attack=attack)
    recorder = net.conv1 = Recorder(net.conv1)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    method.train()(images, torch.tensor([0, 1]), index=torch.arange(2))
    frames = recorder.frames
    assert "methods" in frames[0]
    assert len(frames) <= LIMIT, "\n".join(frames)
