"""Input-gradient regularisation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from egat_hub.methods.base import METHODS, Batch, Method, MethodConfig
from egat_hub.methods.input_gradient import input_gradient


@dataclass(frozen=True, kw_only=True)
class IGRConfig(MethodConfig):
    """Weight of the penalty.

    Attributes:
        lambda_igr: weight of the mean squared norm of the input gradient. An assumption: the official sweep,
            converted to this scale, runs from 0.2 to 195 on 28 x 28 images.
    """

    lambda_igr: float = 0.1


@METHODS.register("igr")
class IGR(Method):
    """``CE + lambda mean_i |d CE_i / d x_i|^2`` (Ross and Doshi-Velez, AAAI 2018).

    The gradient is that of every sample's own loss with respect to its pixels in [0, 1]. The official code
    halves the square and differentiates the batch mean, so its weight is ``2 B`` times this one.
    Cost: one forward, one backward to the input, one double backward.
    """

    config_class = IGRConfig
    config: IGRConfig

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        labels, weight = batch.labels, self.config.lambda_igr
        if weight == 0:
            return self.plain(batch)
        logits, slope = input_gradient(
            self.backbone, batch.images, lambda z: F.cross_entropy(z, labels, reduction="none")
        )
        penalty = slope.flatten(1).square().sum(1).mean()
        return logits, {"cls": F.cross_entropy(logits, labels), "igr": weight * penalty}
