"""Saliency-guided training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.methods.base import METHODS, Batch, Method, MethodConfig
from egat_hub.methods.divergence import kl_divergence
from egat_hub.methods.input_gradient import input_gradient
from egat_hub.modes import evaluating


@dataclass(frozen=True, kw_only=True)
class SGTConfig(MethodConfig):
    """What is masked, and how much it weighs.

    Attributes:
        lambda_sgt: weight of the divergence (official code: 1).
        drop: share of the pixels that are masked (official recipe: 0.5).

    Raises:
        ValueError: a share outside [0, 1].
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

    Salience is the mean over channels of the absolute gradient of the label's logit (the official code keeps
    the sign, which masks evidence *against* the class first). Masked pixels become uniform noise between the
    darkest and brightest value of their channel in that image. Gradients flow through both predictions.
    Cost: three forwards, one backward to the input, two backwards.
    """

    config_class = SGTConfig
    config: SGTConfig

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if self.config.lambda_sgt == 0:
            return self.plain(batch)
        clean, masked = self.views(batch.images, self._masked(batch))
        predicted, predicted_masked = map(self.backbone.without_dropout, (clean, masked))
        return clean.logits, {
            "cls": F.cross_entropy(clean.logits, batch.labels),
            "sgt": self.config.lambda_sgt * kl_divergence(predicted, predicted_masked),
        }

    def _masked(self, batch: Batch) -> Tensor:
        images, labels = batch.images, batch.labels
        with evaluating(self.backbone):
            _, slope = input_gradient(
                self.backbone, images, lambda z: z.gather(1, labels[:, None])[:, 0], create_graph=False
            )
        salience = slope.abs().mean(1).flatten(1)
        least = salience.argsort(dim=1, stable=True)[:, : round(self.config.drop * salience.shape[1])]
        masked = torch.zeros_like(salience, dtype=torch.bool).scatter_(1, least, True)
        low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
        noise = low + (high - low) * batch.random.uniform(images, 0, 1, "mask")
        return torch.where(masked.view(-1, 1, *images.shape[-2:]), noise, images)
