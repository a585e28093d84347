"""Agreement of two saliency maps of the same image, before and after a change to it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from egat_hub.metrics.faithfulness import top_region
from egat_hub.registry import Registry

Agreement = Callable[[Tensor, Tensor, tuple[int, ...]], Tensor]
"""(signed maps [B,h,w], other maps [B,h,w], image size (H, W)) to an agreement [B]; 1 is full agreement."""

STABILITY: Registry[Agreement] = Registry("stability_measures")

TOP_SHARE = 0.2


@STABILITY.register("topk_overlap")
def topk_overlap(maps: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    """Share of the top 20 % pixels that both maps have in common (Ghorbani et al. 2019), in [0, 1]."""
    first, second = (top_region(m, TOP_SHARE, size).flatten(1) for m in (maps, other))
    return (first & second).sum(1) / first.sum(1)


@STABILITY.register("cosine")
def cosine(maps: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    """Cosine of the angle between the positive parts of the maps as vectors, in [0, 1]."""
    first, second = (m.relu().flatten(1).float() for m in (maps, other))
    return F.cosine_similarity(first, second, dim=1)
