"""Invariant risk minimization, and environments made from one training domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tf

from egat_hub.core.distributed import all_gather
from egat_hub.core.registry import Registry
from egat_hub.methods.base import METHODS, Batch, Method, MethodConfig

COUNT = 3

Environments = Callable[[Batch], tuple[Tensor, Tensor]]
"""Batch -> images [B,3,H,W] and environment numbers [B]."""

Look = Callable[[Tensor, list[float]], Tensor]
"""(image [3,H,W] in [0,1], five random numbers in [0,1)) -> altered image."""

ENVIRONMENTS: Registry[Environments] = Registry("environments")


@ENVIRONMENTS.register("single")
def single(batch: Batch) -> tuple[Tensor, Tensor]:
    """One environment with all images."""
    return batch.images, torch.zeros_like(batch.labels)


@ENVIRONMENTS.register("random")
def random(batch: Batch) -> tuple[Tensor, Tensor]:
    """Three fixed random parts of the training images."""
    return batch.images, _parts(replace(batch, random=replace(batch.random, step=0)))


@ENVIRONMENTS.register("photometric")
def photometric(batch: Batch) -> tuple[Tensor, Tensor]:
    """Three alterations: none; strong colour jitter, half of it with grayscale; blur."""
    parts = _parts(batch)
    return _look(batch, parts, (lambda image, _: image, _colours, _focus)), parts


def change_look(batch: Batch) -> Tensor:
    """Images [B,3,H,W] with strong colour jitter or blur."""
    return _look(batch, _parts(batch) % 2, (_colours, _focus))


def _look(batch: Batch, parts: Tensor, looks: Sequence[Look]) -> Tensor:
    chance = batch.random.uniform(torch.empty(len(parts), 5), 0, 1, "look").tolist()
    images = [
        looks[part](image, draw)
        for image, part, draw in zip(batch.images, parts.tolist(), chance, strict=True)
    ]
    return torch.stack(images)


def _parts(batch: Batch) -> Tensor:
    chance = batch.random.uniform(torch.empty(len(batch.random)), 0, COUNT, "environment")
    return chance.long().clamp(max=COUNT - 1).to(batch.labels.device)


def _colours(image: Tensor, draw: list[float]) -> Tensor:
    factors = [0.4 + 1.2 * chance for chance in draw[:3]]
    image = tf.adjust_brightness(image, factors[0])
    image = tf.adjust_saturation(tf.adjust_contrast(image, factors[1]), factors[2])
    return tf.rgb_to_grayscale(image, num_output_channels=3) if draw[3] < 0.5 else image


def _focus(image: Tensor, draw: list[float]) -> Tensor:
    return tf.gaussian_blur(image, [9, 9], [1 + draw[4]])


@dataclass(frozen=True, kw_only=True)
class IRMConfig(MethodConfig):
    """Options of IRM; defaults as in DomainBed.

    Attributes:
        lambda_irm: weight of the penalty after the warm-up; 1 before.
        warmup: steps of the warm-up, after which the optimizer restarts.
        environments: how to make environments from one domain. Assumed: the EGAT paper does not say.
    """

    lambda_irm: float = 100.0
    warmup: int = 500
    environments: str = "random"


@METHODS.register("irm")
class IRM(Method):
    """``mean_e [CE_e + w g_e' g_e'']``, g the derivative of the loss by a scale of the logits (IRMv1).

    The penalty multiplies g of two halves of an environment, an unbiased estimate of its square that may be
    negative (arXiv 1907.02893, as in DomainBed). ``g = mean_i (sum_c p_ic z_ic - z_i,y)`` needs no second
    derivative. Logits of all processes are gathered, so the penalty is that of the global batch.
    Cost: one forward, one backward.
    """

    config_class = IRMConfig
    config: IRMConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.environments = ENVIRONMENTS[self.config.environments]

    def restarts_optimizer(self, step: int) -> bool:
        return step == self.config.warmup > 0

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        images, environment = self.environments(batch)
        logits = self.model(images)
        scores, labels, environment = map(all_gather, (logits.float(), batch.labels, environment))
        risks, penalties = [], []
        for number in environment.unique():
            z, y = scores[environment == number], labels[environment == number]
            risks.append(F.cross_entropy(z, y))
            penalties.append(_gradient_of_scale(z[::2], y[::2]) * _gradient_of_scale(z[1::2], y[1::2]))
        weight = self.config.lambda_irm
        if batch.step < self.config.warmup:
            weight = min(1.0, weight)
        return logits, {"cls": torch.stack(risks).mean(), "irm": weight * torch.stack(penalties).mean()}


def _gradient_of_scale(logits: Tensor, labels: Tensor) -> Tensor:
    """``d CE(s z, y) / d s`` at s = 1; zero without images."""
    if len(labels) == 0:
        return logits.sum()
    expected = (logits.softmax(1) * logits).sum(1)
    return (expected - logits.gather(1, labels[:, None])[:, 0]).mean()
