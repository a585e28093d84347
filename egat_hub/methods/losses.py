"""Distances between predictions and between maps, and mixup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.core.distributed import all_gather, rank
from egat_hub.core.registry import Registry
from egat_hub.methods.base import Batch


def kl_divergence(logits: Tensor, other: Tensor, *, reduction: Literal["mean", "none"] = "mean") -> Tensor:
    """``KL(p || q)`` between the softmax of ``logits`` and that of ``other`` [B,C]."""
    precision = torch.promote_types(logits.dtype, torch.float32)
    log_p, log_q = F.log_softmax(logits, 1, dtype=precision), F.log_softmax(other, 1, dtype=precision)
    divergence = (log_p.exp() * (log_p - log_q)).sum(1)
    return divergence.mean() if reduction == "mean" else divergence


MapDistance = Callable[[Tensor, Tensor], Tensor]
"""(maps [B,h,w], reference [B,h,w]) -> mean distance over images and positions."""

MAP_DISTANCES: Registry[MapDistance] = Registry("map_distances")

MARGIN = 0.05
"""Distance of maps from 0 and 1 in the logarithms of :func:`bce`; bounds its gradient by 20."""


@MAP_DISTANCES.register("l1")
def l1(maps: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (maps - reference).abs().mean()


@MAP_DISTANCES.register("l2")
def l2(maps: Tensor, reference: Tensor) -> Tensor:
    """Mean squared difference."""
    return (maps - reference).square().mean()


@MAP_DISTANCES.register("bce")
def bce(maps: Tensor, reference: Tensor) -> Tensor:
    """Binary cross-entropy of maps in [0,1] against a reference in [0,1].

    Min-max scaled maps contain zeros and ones, where the gradient of the logarithm is infinite. Maps are
    therefore clamped to [0.05, 0.95]; clamped values get no gradient.
    """
    inner = maps.clamp(MARGIN, 1 - MARGIN)
    return -(reference * inner.log() + (1 - reference) * (1 - inner).log()).mean()


@dataclass(frozen=True)
class Mixup:
    """Each image's partner, a position in the global batch [B], and the weight of the image itself [B]."""

    partner: Tensor
    share: Tensor

    @classmethod
    def draw(cls, batch: Batch, *, alpha: float, same_class: bool) -> Mixup:
        """Draw random partners, within the class or among all images, and weights from Beta(alpha, alpha).

        Partners are a permutation of the global batch; an image alone in its class is its own partner.
        """
        chance = batch.random.uniform(torch.empty(len(batch.random)), 0, 1, "partner")
        chance = all_gather(chance.to(batch.labels.device))
        group = all_gather(batch.labels) if same_class else torch.zeros_like(chance)
        by_chance = chance.argsort(stable=True)
        shuffled = by_chance[group[by_chance].argsort(stable=True)]
        partner = torch.empty_like(shuffled)
        partner[group.argsort(stable=True)] = shuffled
        share = batch.random.beta(alpha, "mixup").to(batch.images)
        return cls(partner.view(-1, len(share))[rank()], share)

    def __call__(self, values: Tensor) -> Tensor:
        """``share * v_i + (1 - share) * v_partner`` for values [B,...]."""
        share = self.share.to(values.dtype).view(-1, *[1] * (values.ndim - 1))
        return share * values + (1 - share) * all_gather(values)[self.partner]
