"""Invariant risk minimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.core.distributed import all_gather
from egat_hub.methods.base import METHODS, Batch, Method, MethodConfig
from egat_hub.methods.environments import ENVIRONMENTS


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
            penalties.append(_slope(z[::2], y[::2]) * _slope(z[1::2], y[1::2]))
        weight = (
            self.config.lambda_irm if batch.step >= self.config.warmup else min(1.0, self.config.lambda_irm)
        )
        return logits, {"cls": torch.stack(risks).mean(), "irm": weight * torch.stack(penalties).mean()}


def _slope(logits: Tensor, labels: Tensor) -> Tensor:
    """``d CE(s z, y) / d s`` at s = 1; zero without images."""
    if len(labels) == 0:
        return logits.sum()
    expected = (logits.softmax(1) * logits).sum(1)
    return (expected - logits.gather(1, labels[:, None])[:, 0]).mean()
