"""Comprehensiveness and sufficiency (Eq. 19 and 20 of the EGAT paper; ERASER, DeYoung et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from egat_hub.core.config import check_choices
from egat_hub.core.randomness import SampleRandom
from egat_hub.explanations.similarity import pixel_ranks, top_count
from egat_hub.metrics.controls import FILLS
from egat_hub.models import TimmModel
from egat_hub.models.modes import evaluating

Target = Literal["predicted", "label"]
"""The ``"predicted"`` class of the clean image, or its ``"label"``."""


class Removal(NamedTuple):
    """Comprehensiveness and sufficiency [B], in [-1, 1], at one share ``q`` with one ``fill``."""

    q: float
    fill: str
    comp: Tensor
    suff: Tensor


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """How far the class's probability falls when the top region E is removed, and when it alone is kept.

    ``comprehensiveness = p_c(x) - p_c(x without E)``, higher is better;
    ``sufficiency = p_c(x) - p_c(E)``, lower is better.
    This is not Quantus' "Sufficiency" (arXiv 2202.00734).

    Attributes:
        q: share of the pixels in E, of the figures that tables show.
        fill: name of what takes the place of removed pixels (``"mean"``, ``"black"``, ``"blur"``,
            ``"noise"``) in those figures.
        target: class c, the ``"predicted"`` one of the clean image or the ``"label"``.
        shares: further shares; the mean over these is reported, too (AOPC of ERASER).
        fills: further fills; every share is measured with every fill.

    Raises:
        ValueError: a share outside (0, 1) or given twice, or an unknown target.
    """

    q: float = 0.2
    fill: str = "mean"
    target: Target = "predicted"
    shares: tuple[float, ...] = ()
    fills: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choices(self)
        for q in (self.q, *self.shares):
            if not 0 < q < 1:
                raise ValueError(f"Expected q in (0, 1), a share of the pixels, got {q}.")
        if len(set(self.shares)) < len(self.shares):
            raise ValueError(f"Expected shares that differ, for their mean is reported, got {self.shares}.")

    @property
    def settings(self) -> list[tuple[float, str]]:
        """Every share and fill that is measured, ``(q, fill)`` first."""
        every = product((self.fill, *self.fills), (self.q, *self.shares))
        return list(dict.fromkeys((q, fill) for fill, q in every))

    @torch.no_grad()
    def __call__(
        self,
        model: TimmModel,
        images: Tensor,
        maps: Tensor,
        classes: Tensor,
        probability: Tensor,
        random: SampleRandom,
    ) -> list[Removal]:
        """Comprehensiveness and sufficiency of every image, for each of ``settings`` in their order.

        Cost: two forwards a setting, and one sort of the pixels for all of them.

        Args:
            model: the model that is explained.
            images: [B,3,H,W] in [0,1].
            maps: saliency [B,h,w]; best without ReLU, as ties are broken by reading order.
            classes: class c of every image [B].
            probability: p_c of the images [B].
            random: keyed random numbers of these images.
        """
        size, index = images.shape[-2:], classes[:, None]
        ranks = pixel_ranks(maps, size)[:, None]
        fills = dict.fromkeys((self.fill, *self.fills))
        shown = {fill: FILLS[fill](model, images, random) for fill in fills}
        found = []
        with evaluating(model):
            for q, fill in self.settings:
                region = ranks < top_count(q, size)
                without, alone = (
                    model(torch.where(removed, shown[fill], images)).float().softmax(1)
                    for removed in (region, ~region)
                )
                comp, suff = (probability - p.gather(1, index)[:, 0] for p in (without, alone))
                found.append(Removal(q, fill, comp, suff))
        return found
