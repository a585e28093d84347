"""TRADES."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.attacks.base import without_float16
from egat_hub.methods.adversarial import AdversarialConfig, AdversarialMethod
from egat_hub.methods.base import METHODS, Batch
from egat_hub.methods.losses import kl_divergence


@dataclass(frozen=True, kw_only=True)
class TRADESConfig(AdversarialConfig):
    """Options of TRADES.

    Attributes:
        beta: weight of the divergence between clean and attacked predictions (official CIFAR-10 script: 6).
    """

    start: ClassVar[str] = "normal"

    beta: float = 6.0


@METHODS.register("trades")
class TRADES(AdversarialMethod):
    """``CE(f(x), y) + beta KL(p(x) || p(x'))``, where x' maximizes the divergence (Zhang et al. 2019).

    The divergence ignores dropout, and both predictions get gradients.
    Cost: one forward for the attack's target, T forwards and input backwards, two forwards, two backwards.
    """

    config_class = TRADESConfig
    config: TRADESConfig

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if self.config.beta == 0:
            return self.plain(batch)
        clean, attacked = self.views(batch.images, self._attacked(batch))
        predicted, predicted_attacked = map(self.model.without_dropout, (clean, attacked))
        return clean.logits, {
            "cls": F.cross_entropy(clean.logits, batch.labels),
            "adv_kl": self.config.beta * kl_divergence(predicted, predicted_attacked),
        }

    def _attacked(self, batch: Batch) -> Tensor:
        with self.attacking():
            with torch.no_grad(), without_float16(batch.images):
                target = self.model(batch.images)
            torch.clear_autocast_cache()  # older releases would train with these, cast without a graph
            return self.perturb(
                batch, lambda logits, rows: kl_divergence(target[rows], logits, reduction="none")
            )
