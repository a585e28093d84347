"""Regularization by gradients: IGR, RRR and SGT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.explanations import GUIDES
from egat_hub.methods.base import METHODS, Batch, Method, MethodConfig
from egat_hub.methods.losses import kl_divergence
from egat_hub.models import TimmModel
from egat_hub.models.train_mode import evaluating, twice_differentiable


def input_gradient(
    model: TimmModel, images: Tensor, objective: Callable[[Tensor], Tensor], *, create_graph: bool = True
) -> tuple[Tensor, Tensor]:
    """Logits [B,C] of images [B,3,H,W], and the gradient of the sum of an objective [B] of the logits.

    Runs without autocast, because second derivatives need float32.
    """
    with torch.autocast(images.device.type, enabled=False), twice_differentiable(create_graph):
        images = images.detach().float().requires_grad_()
        logits = model(images)
        (gradient,) = torch.autograd.grad(objective(logits).sum(), images, create_graph=create_graph)
    return logits, gradient


@dataclass(frozen=True, kw_only=True)
class IGRConfig(MethodConfig):
    """Options of IGR.

    Attributes:
        lambda_igr: weight of the mean squared norm of the input gradient. Assumed: the official sweep, in
            this scale, runs from 0.2 to 195 on 28 x 28 images.
    """

    lambda_igr: float = 0.1


@METHODS.register("igr")
class IGR(Method):
    """``CE + lambda mean_i |d CE_i / d x_i|^2`` (Ross and Doshi-Velez, AAAI 2018).

    Gradients are those of each image's own loss with respect to pixels in [0, 1]. The official code takes
    half the square of the gradient of the batch mean, so its weight is ``2 B`` times this one.
    Cost: one forward, one backward to the input, one double backward.
    """

    config_class = IGRConfig
    config: IGRConfig

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        labels, weight = batch.labels, self.config.lambda_igr
        if weight == 0:
            return self.plain(batch)
        logits, gradient = input_gradient(
            self.model, batch.images, lambda z: F.cross_entropy(z, labels, reduction="none")
        )
        penalty = gradient.flatten(1).square().sum(1).mean()
        return logits, {"cls": F.cross_entropy(logits, labels), "igr": weight * penalty}


@dataclass(frozen=True, kw_only=True)
class RRRConfig(MethodConfig):
    """Options of RRR.

    Attributes:
        lambda_rrr: weight of the normalized penalty. Assumed; both terms should be of the same order.
        guide: name of a guide map; where it is low, the image counts as irrelevant. The paper uses
            annotations.
    """

    lambda_rrr: float = 10.0
    guide: str = "grayscale"


@METHODS.register("rrr")
class RRR(Method):
    """``CE + lambda sum_i |A_i * d/dx_i sum_c log p_c(x_i)|^2`` (Ross et al., IJCAI 2017), A = 1 - guide.

    The sum is over all classes. The penalty of an image is divided by the sum of its A.
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
        logits, gradient = input_gradient(self.model, batch.images, lambda z: F.log_softmax(z, 1).sum(1))
        penalty = (irrelevant * gradient).square().flatten(1).sum(1)
        penalty = (penalty / irrelevant.flatten(1).sum(1).clamp_min(1)).mean()
        return logits, {"cls": F.cross_entropy(logits, labels), "rrr": weight * penalty}


@dataclass(frozen=True, kw_only=True)
class SGTConfig(MethodConfig):
    """Options of SGT.

    Attributes:
        lambda_sgt: weight of the divergence (official code: 1).
        drop: share of masked pixels in [0, 1] (official recipe: 0.5).
    """

    lambda_sgt: float = 1.0
    drop: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.drop <= 1:
            raise ValueError(f"Expected drop in [0, 1], a share of the pixels, got {self.drop}.")


@METHODS.register("sgt")
class SGT(Method):
    """``CE + lambda KL(p(x) || p(x~))``, x~ without the least salient pixels (Ismail et al., NeurIPS 2021).

    Pixels are ranked by the mean over channels of the absolute gradient of the label's logit; the official
    code keeps the sign, which masks evidence *against* the class first. Masked pixels become uniform noise
    in the range of their channel in the image. Gradients flow through both predictions.
    Cost: three forwards, one backward to the input, two backwards.
    """

    config_class = SGTConfig
    config: SGTConfig

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if self.config.lambda_sgt == 0:
            return self.plain(batch)
        clean, masked = self.views(batch.images, self._masked(batch))
        predicted, predicted_masked = map(self.model.without_dropout, (clean, masked))
        return clean.logits, {
            "cls": F.cross_entropy(clean.logits, batch.labels),
            "sgt": self.config.lambda_sgt * kl_divergence(predicted, predicted_masked),
        }

    def _masked(self, batch: Batch) -> Tensor:
        images, labels = batch.images, batch.labels
        with evaluating(self.model):
            _, gradient = input_gradient(
                self.model, images, lambda z: z.gather(1, labels[:, None])[:, 0], create_graph=False
            )
        salience = gradient.abs().mean(1).flatten(1)
        least = salience.argsort(dim=1, stable=True)[:, : round(self.config.drop * salience.shape[1])]
        masked = torch.zeros_like(salience, dtype=torch.bool).scatter_(1, least, True)
        low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
        noise = low + (high - low) * batch.random.uniform(images, 0, 1, "mask")
        return torch.where(masked.view(-1, 1, *images.shape[-2:]), noise, images)
