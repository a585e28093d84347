"""DMADA-lite: adversarial domain adaptation with domain mixup, without a generator."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.core.distributed import all_gather
from egat_hub.methods.base import METHODS, POSITIVE, Batch, Method, MethodConfig
from egat_hub.methods.irm import change_look
from egat_hub.methods.losses import Mixup


def reverse_gradient(values: Tensor, strength: float) -> Tensor:
    """``values`` unchanged; their gradient is multiplied by ``-strength``."""
    return _Reverse.apply(values, strength)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


@dataclass(frozen=True, kw_only=True)
class DMADAConfig(MethodConfig):
    """Options of DMADA-lite; all defaults but ``mixup_alpha`` are assumed.

    Attributes:
        lambda_domain: weight of the sum of the four domain losses.
        lambda_triplet: weight of the triplet loss.
        mixup_alpha: parameter of Beta(a, a), the distribution of a step's mixing ratio (official code: 2).
        ramp: steps over which the reversed gradient grows from 0 to nearly full strength.
        hidden: units of the discriminator's hidden layer.
    """

    lambda_domain: float = 0.1
    lambda_triplet: float = 0.1
    mixup_alpha: float = field(default=2.0, metadata=POSITIVE)
    ramp: int = 5000
    hidden: int = 256


@METHODS.register("dmada")
class DMADA(Method):
    """DMADA-lite: ``CE(f(x), y)``, with features that do not reveal whether an image was altered.

    Not the published method: DM-ADA (Xu et al., AAAI 2020) adapts to an unlabelled target domain with a
    generator of 32 x 32 images. Here the target domain is the training images with changed colours or focus.
    The rest remains: a discriminator with gradient reversal on pooled features, mixup of both domains in
    pixels and features, and a triplet loss that pulls a mixture to its nearer domain.
    Cost: three forwards, three backwards.
    """

    config_class = DMADAConfig
    config: DMADAConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        with self.seeded():
            self.embed = nn.Sequential(nn.Linear(self.model.net.num_features, self.config.hidden), nn.ReLU())
            self.discriminator = nn.Linear(self.config.hidden, 1)
        self.to(self.model.mean)

    def check_model(self) -> None:
        found, expected = self.model.channels, self.model.net.num_features
        if found != expected:
            raise ValueError(
                f"DMADA needs maps of {expected} channels, and those of {self.model.architecture} have "
                f"{found}. Choose another network or method."
            )

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        c, images = self.config, batch.images
        partner = Mixup.draw(batch, alpha=c.mixup_alpha, same_class=False).partner
        target = all_gather(change_look(batch))[partner]
        ratio = self._ratio(batch)
        mixed = ratio * images + (1 - ratio) * target
        views = self.views(images, target, mixed)
        strength = 2 / (1 + math.exp(-10 * batch.step / max(1, c.ramp))) - 1
        pooled = [self.model.grid(view.features).mean((2, 3)) for view in views]
        pooled.append(ratio * pooled[0] + (1 - ratio) * pooled[1])
        source, other, blend, between = (self.embed(reverse_gradient(p, strength)) for p in pooled)
        scores = map(self.discriminator, (source, other, between, blend))
        domain = sum(
            F.binary_cross_entropy_with_logits(score, torch.full_like(score, share))
            for score, share in zip(scores, (1.0, 0.0, ratio, ratio), strict=True)
        )
        near, far = (source, other) if ratio > 0.5 else (other, source)
        triplet = F.triplet_margin_loss(blend, near, far, margin=abs(2 * ratio - 1))
        logits = views[0].logits
        return logits, {
            "cls": F.cross_entropy(logits, batch.labels),
            "domain": c.lambda_domain * torch.as_tensor(domain),
            "triplet": c.lambda_triplet * triplet,
        }

    def _ratio(self, batch: Batch) -> float:
        """Share of the source domain in a step, at least 0.1 away from one half."""
        drawn = replace(batch.random, index=(0,)).beta(self.config.mixup_alpha, "ratio").item()
        return max(drawn, 0.6) if drawn > 0.5 else min(drawn, 0.4)
