"""Environments made from one training domain, for invariant learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tf

from egat_hub.core.registry import Registry
from egat_hub.methods.base import Batch

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
