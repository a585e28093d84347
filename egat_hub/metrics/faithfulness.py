"""Comprehensiveness and sufficiency (Eq. 19 and 20 of the EGAT paper; ERASER, DeYoung et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.backbone import Backbone
from egat_hub.config import check_choices
from egat_hub.metrics.fills import FILLS
from egat_hub.modes import evaluating


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """How far the class's probability falls when the top region E is removed, and when it alone is kept.

    ``Comp = p_c(x) - p_c(x without E)``, higher is better; ``Suff = p_c(x) - p_c(E)``, lower is better.
    This is not Quantus' "Sufficiency" (arXiv 2202.00734).

    Attributes:
        q: share of the pixels in E.
        fill: name of what takes the place of removed pixels (``"mean"``, ``"black"``, ``"blur"``).
        target: class c, the ``"predicted"`` one of the clean image or the ``"label"``.

    Raises:
        ValueError: q outside (0, 1), or an unknown target.
    """

    q: float = 0.2
    fill: str = "mean"
    target: Literal["predicted", "label"] = "predicted"

    def __post_init__(self) -> None:
        check_choices(self)
        if not 0 < self.q < 1:
            raise ValueError(f"Expected q in (0, 1), a share of the pixels, got {self.q}.")

    @torch.no_grad()
    def __call__(
        self, backbone: Backbone, images: Tensor, maps: Tensor, classes: Tensor, probability: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Comp and Suff of every image, each [B] in [-1, 1]. Cost: two forwards.

        Args:
            backbone: the model that is explained.
            images: [B,3,H,W] in [0,1].
            maps: saliency [B,h,w]; best without ReLU, as ties are broken by reading order.
            classes: class c of every image [B].
            probability: p_c of the images [B].
        """
        region = top_region(maps, self.q, images.shape[-2:])[:, None]
        fill = FILLS[self.fill](backbone, images)
        with evaluating(backbone):
            without, alone = (
                backbone(torch.where(removed, fill, images)).float().softmax(1)
                for removed in (region, ~region)
            )
        index = classes[:, None]
        return (probability - without.gather(1, index)[:, 0]), (probability - alone.gather(1, index)[:, 0])


def top_region(maps: Tensor, q: float, size: tuple[int, ...]) -> Tensor:
    """The share ``q`` of pixels that matter most, as a boolean [B,H,W].

    Maps [B,h,w] are enlarged bilinearly to ``size`` (H, W). Exactly ``round(q H W)`` pixels are chosen;
    among equals, those that come first in reading order.
    """
    height, width = size
    larger = F.interpolate(maps[:, None].float(), (height, width), mode="bilinear", align_corners=False)
    pixels = larger.flatten(1)
    order = pixels.argsort(dim=1, descending=True, stable=True)[:, : round(q * height * width)]
    return torch.zeros_like(pixels, dtype=torch.bool).scatter_(1, order, True).view(-1, height, width)
