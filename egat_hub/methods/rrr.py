"""Right for the right reasons: gradients where the guide is dark are penalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from egat_hub.guides import GUIDES
from egat_hub.methods.base import METHODS, Batch, Method, MethodConfig
from egat_hub.methods.input_gradient import input_gradient


@dataclass(frozen=True, kw_only=True)
class RRRConfig(MethodConfig):
    """Weight of the penalty, and what counts as irrelevant.

    Attributes:
        lambda_rrr: weight of the normalised penalty. An assumption, to be chosen so that both terms have the
            same order.
        guide: name of a guide map; what it leaves dark is irrelevant. The paper has annotations instead.
    """

    lambda_rrr: float = 10.0
    guide: str = "grayscale"


@METHODS.register("rrr")
class RRR(Method):
    """``CE + lambda sum_i |A_i * d/dx_i sum_c log p_c(x_i)|^2`` (Ross et al., IJCAI 2017), A = 1 - guide.

    The sum runs over all classes, not the label alone. The penalty of an image is divided by the sum of its
    A, and the batch averaged, so that the weight depends on neither.
    Cost: one forward, one backward to the input, one double backward.
    """

    config_class = RRRConfig
    config: RRRConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.guide = GUIDES[self.config.guide]

    @property
    def needs_masks(self) -> bool:
        return self.config.guide == "mask" and self.config.lambda_rrr > 0

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        labels, weight = batch.labels, self.config.lambda_rrr
        if weight == 0:
            return self.plain(batch)
        irrelevant = 1 - self.guide(batch.images, batch.masks)
        logits, slope = input_gradient(self.backbone, batch.images, lambda z: F.log_softmax(z, 1).sum(1))
        penalty = (irrelevant * slope).square().flatten(1).sum(1)
        penalty = (penalty / irrelevant.flatten(1).sum(1).clamp_min(1)).mean()
        return logits, {"cls": F.cross_entropy(logits, labels), "rrr": weight * penalty}
