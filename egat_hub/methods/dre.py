"""Distributionally robust explanations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.core.distributed import all_gather, world_size
from egat_hub.explanations import GradCAM
from egat_hub.methods.base import METHODS, POSITIVE, Batch, Method, MethodConfig
from egat_hub.methods.losses import Mixup


@dataclass(frozen=True, kw_only=True)
class DREConfig(MethodConfig):
    """Options of DRE; defaults as in its official code.

    Attributes:
        lambda_exp: weight of the distance between mixed explanations.
        lambda_sparse: weight of the norm of the explanations.
        lambda_mix: weight of the cross-entropy of mixed images.
        sparsity: ``"official"`` is the official code's matrix norm, the mean over columns of a map's largest
            value; ``"mean_l1"`` the mean value of a map.
        mixup_alpha: parameter of Beta(a, a).
    """

    lambda_exp: float = 1.0
    lambda_sparse: float = 0.5
    lambda_mix: float = 0.1
    sparsity: Literal["official", "mean_l1"] = "official"
    mixup_alpha: float = field(default=0.2, metadata=POSITIVE)


@METHODS.register("dre")
class DRE(Method):
    """``CE + l_exp |Phi(x~) - mix(Phi)| + l_sparse norm + l_mix CE(f(x~), y)`` (Li et al., CVPR 2023).

    Images are mixed within their class. Maps are Grad-CAM of the label without ReLU, scaled to [0, 1];
    gradients flow through both sides. As in the official code, classes in the batch have equal weight, and
    terms are divided by the number of classes of the data set. Cost: two forwards, two backwards (official
    code: four forwards).
    """

    config_class = DREConfig
    config: DREConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.explanation = GradCAM(relu=False)

    def check_model(self) -> None:
        self.explanation.check(self.model)

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        c, labels = self.config, batch.labels
        mixup = Mixup.draw(batch, alpha=c.mixup_alpha, same_class=True)
        clean, mixed = self.views(batch.images, mixup(batch.images))
        maps, mixed_maps = (self.explanation.of(self.model, view, labels) for view in (clean, mixed))
        share = self._class_share(labels)
        distance = (mixed_maps - mixup(maps)).abs().mean((1, 2))
        norm = (self._norm(maps) + self._norm(mixed_maps)) / 2
        mix_ce = F.cross_entropy(mixed.logits, labels, reduction="none")
        return clean.logits, {
            "cls": F.cross_entropy(clean.logits, labels),
            "exp": c.lambda_exp * (share * distance).sum(),
            "sparse": c.lambda_sparse * (share * norm).sum(),
            "mix": c.lambda_mix * (share * mix_ce).sum(),
        }

    def _class_share(self, labels: Tensor) -> Tensor:
        """Weights [B], ``1 / (C n_c)`` with n_c images of the class in the global batch."""
        classes = self.model.num_classes
        counts = torch.bincount(all_gather(labels), minlength=classes)
        return world_size() / (classes * counts[labels])

    def _norm(self, maps: Tensor) -> Tensor:
        """Norms of maps [B]."""
        return maps.amax(1).mean(1) if self.config.sparsity == "official" else maps.mean((1, 2))
