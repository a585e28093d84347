"""SGDrop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.methods.base import METHODS, Batch, Method, MethodConfig


@dataclass(frozen=True, kw_only=True)
class SGDropConfig(MethodConfig):
    """Options of SGDrop.

    Attributes:
        drop: share of an image's feature values that are set to zero, in [0, 1], at most 90 % of those with
            positive evidence. Assumed: a replication uses 0.1, the paper's value is not known.
    """

    drop: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.drop <= 1:
            raise ValueError(f"Expected drop in [0, 1], a share of the features, got {self.drop}.")


@METHODS.register("sgdrop")
class SGDrop(Method):
    """``CE(head(m * a), y)``, where m drops the top of ``ReLU(d logit_y / d a * a)`` (arXiv 2409.17370).

    The mask gets no gradient, the attribution ignores dropout, and inference drops nothing.
    Cost: one forward, one backward, and the head twice more.
    """

    config_class = SGDropConfig
    config: SGDropConfig

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        features = self.model.features(batch.images)
        kept = features * self._mask(features, batch.labels)
        logits = self.model.head(kept)
        return logits, {"cls": F.cross_entropy(logits, batch.labels)}

    def _mask(self, features: Tensor, labels: Tensor) -> Tensor:
        leaf = features.detach().requires_grad_()
        score = self.model.head(leaf, dropout=False).gather(1, labels[:, None])
        (gradient,) = torch.autograd.grad(score.sum(), leaf)
        evidence = (gradient * leaf.detach()).clamp_min(0).flatten(1)
        positive = (evidence > 0).sum(1)
        allowed = (0.9 * positive).long().clamp(max=int(self.config.drop * evidence.shape[1]))
        place = evidence.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return (place >= allowed[:, None]).view_as(features).to(features.dtype)
