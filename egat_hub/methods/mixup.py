"""Mixup in image and explanation space (Eq. 9 of the EGAT paper)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from egat_hub.collective import all_gather, rank
from egat_hub.methods.base import Batch


@dataclass(frozen=True)
class Mixup:
    """Pairs of a batch and the share of each.

    Attributes:
        partner: position of every sample's partner in the global batch [B].
        share: weight of the sample itself [B]; its partner has ``1 - share``.
    """

    partner: Tensor
    share: Tensor

    @classmethod
    def draw(cls, batch: Batch, *, alpha: float, same_class: bool) -> Mixup:
        """Random partners, within the class or among all, with shares from Beta(alpha, alpha).

        Partners are a permutation of the *global* batch: processes exchange what they need, so their
        number changes nothing. A sample that is alone in its class is its own partner.
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
        """``share * v_i + (1 - share) * v_partner`` for values [B,...] of any shape."""
        share = self.share.to(values.dtype).view(-1, *[1] * (values.ndim - 1))
        return share * values + (1 - share) * all_gather(values)[self.partner]
