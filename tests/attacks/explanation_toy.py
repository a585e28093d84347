"""A small network in timm's form, trained to look at a disc, and images for it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.attacks import EXPLANATION_ATTACKS, ExplanationAttack
from egat_hub.explanations import EXPLANATIONS, Explanation
from egat_hub.models import TimmModel

CLASSES, SIZE = 4, 24


class Toy(nn.Module):
    """Three convolutions, global average, linear; maps of 6 x 6 positions."""

    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        self.pretrained_cfg = {
            "architecture": "toy",
            "input_size": (3, SIZE, SIZE),
            "mean": (0.5,) * 3,
            "std": (0.25,) * 3,
        }
        self.num_classes, self.num_features = CLASSES, 16
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            activation(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            activation(),
            nn.Conv2d(16, 16, 3, padding=1),
            activation(),
        )
        self.fc = nn.Linear(16, CLASSES)

    def get_classifier(self) -> nn.Linear:
        return self.fc

    def forward_features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.fc(features.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def make_images(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Gray noise [count,3,24,24] in [0,1] with a small disc anywhere; its colour is the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    colours = torch.tensor([[0.2, -0.1, -0.1], [-0.1, 0.2, -0.1], [-0.1, -0.1, 0.2], [0.12, 0.12, -0.2]])
    coarse = 0.5 + 0.08 * torch.randn(count, 3, 6, 6, generator=generator)
    images = F.interpolate(coarse, (SIZE, SIZE), mode="bilinear")
    centres = 5 + (SIZE - 10) * torch.rand(count, 2, 1, 1, generator=generator)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    disc = ((y - centres[:, 0]).square() + (x - centres[:, 1]).square()).sqrt() < 4.5
    return (images + disc[:, None] * colours[labels][:, :, None, None]).clamp(0, 1), labels


@functools.cache
def trained(activation: type[nn.Module] = nn.SiLU) -> TimmModel:
    """Trained for 80 steps; not to be changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TimmModel(Toy(activation)).train()
        images, labels = make_images(256, seed=1)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for batch in torch.randint(len(images), (80, 32)):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        optimizer.zero_grad()
    return model.eval()


FEW = {"samples": 2, "points": 2}


def explanation(name: str, **settings: Any) -> Explanation:
    """A registered explanation, of few samples where it takes some."""
    known = {field.name for field in dataclasses.fields(EXPLANATIONS[name])}
    return EXPLANATIONS[name](**{key: value for key, value in FEW.items() if key in known}, **settings)


def attack(name: str, *, steps: int = 4, **settings: Any) -> ExplanationAttack:
    """A registered attack of a few steps of PGD."""
    return EXPLANATION_ATTACKS[name](optimizer_options={"steps": steps}, **settings)
