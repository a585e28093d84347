"""Insertion and deletion curves (RISE, Petsiuk et al. 2018, arXiv 1806.07421)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from egat_hub.core.config import check_choices
from egat_hub.core.metric import Metric, Section, Values, key, register, where
from egat_hub.core.randomness import SampleRandom
from egat_hub.explanations import dead
from egat_hub.explanations.similarity import pixel_ranks, top_count
from egat_hub.metrics.batch import FILLS, EvaluationBatch, Target
from egat_hub.models import TimmModel
from egat_hub.models.train_mode import evaluating

CURVES = Section(
    "Insertion and deletion",
    "Area under the curve of the class's probability, x 100.",
    across="map",
)
_curve = partial(
    Metric, section=CURVES, table="faithfulness", shown={"map": "model"}, control={"map": "random"}
)
register(
    _curve(
        name="insertion_auc",
        title="insertion",
        about="area under the probability while the most salient pixels appear first",
        better="higher",
    ),
    _curve(
        name="deletion_auc",
        title="deletion",
        about="area under the probability while the most salient pixels disappear first",
        better="lower",
    ),
)


class Areas(NamedTuple):
    """Areas under both curves, each [B] in [0, 1]."""

    insertion: Tensor
    deletion: Tensor


@dataclass(frozen=True, kw_only=True)
class InsertionDeletion:
    """Area under the class's probability while pixels are shown, or removed, the most salient first.

    Insertion starts from ``insertion_fill`` and ends at the image, higher is better; deletion starts from
    the image and ends at ``deletion_fill``, lower is better. With n steps and probabilities s_0 to s_n the
    area is ``(sum(s) - s_0 / 2 - s_n / 2) / n``. The insertion metric of DRE is the default at 224 pixels:
    28 steps of 8 rows of pixels from a blurred image.

    Attributes:
        steps: number n of steps.
        insertion_fill: fill that insertion starts from.
        deletion_fill: fill that deletion ends with.
        target: class of the map and the probability.

    Raises:
        ValueError: no step, or an unknown target.
    """

    steps: int = 28
    insertion_fill: str = "blur"
    deletion_fill: str = "mean"
    target: Target = "predicted"

    def __post_init__(self) -> None:
        check_choices(self)
        if self.steps < 1:
            raise ValueError(f"Expected at least 1 step, got {self.steps}.")

    @torch.no_grad()
    def __call__(
        self,
        model: TimmModel,
        images: Tensor,
        maps: Tensor,
        classes: Tensor,
        random: SampleRandom,
        *,
        chunk: int = 64,
    ) -> Areas:
        """Areas of every image. Cost: ``2 (steps + 1)`` forwards and one sort of the pixels.

        Args:
            model: the model that is explained.
            images: [B,3,H,W] in [0,1].
            maps: saliency [B,h,w], best without ReLU; ties are ranked in reading order.
            classes: class c of every image [B].
            random: keyed random numbers of these images.
            chunk: images per forward, over all steps.
        """
        ranks = pixel_ranks(maps, images.shape[-2:])[:, None]
        blank = FILLS[self.insertion_fill](model, images, random)
        emptied = FILLS[self.deletion_fill](model, images, random)
        with evaluating(model):
            return Areas(
                insertion=_area(self._curve(model, blank, images, ranks, classes, chunk)),
                deletion=_area(self._curve(model, images, emptied, ranks, classes, chunk)),
            )

    def measure(self, batch: EvaluationBatch) -> Values:
        """Areas under both curves, of the model's maps and of controls."""
        classes, _, maps = batch.of(self.target)
        assert batch.network is not None
        values: Values = {}
        for name, shown in batch.with_controls(maps).items():
            areas = self(batch.network, batch.images, shown, classes, batch.random, chunk=batch.chunk)
            for metric, fill, area in (
                ("insertion_auc", self.insertion_fill, areas.insertion),
                ("deletion_auc", self.deletion_fill, areas.deletion),
            ):
                source = {"explanation": batch.explanation, "map": name, "steps": self.steps}
                protocol = {**source, "fill": fill, "class": self.target}
                values[key(metric, protocol)] = where(~dead(shown), 100 * area)
        return values

    def _curve(
        self, model: TimmModel, before: Tensor, after: Tensor, ranks: Tensor, classes: Tensor, chunk: int
    ) -> Tensor:
        """Probabilities [steps + 1, B] while ``before`` turns into ``after`` in the order of the ranks."""
        count, size = len(before), ranks.shape[-2:]
        changed = torch.tensor([top_count(step / self.steps, size) for step in range(self.steps + 1)])
        probabilities = []
        for part in torch.arange(len(changed) * count).split(chunk):
            step, image = part // count, (part % count).to(before.device)
            swapped = ranks[image] < changed[step].to(ranks.device).view(-1, 1, 1, 1)
            logits = model(torch.where(swapped, after[image], before[image])).float()
            probabilities.append(logits.softmax(1).gather(1, classes[image, None])[:, 0])
        return torch.cat(probabilities).view(-1, count)


def _area(curve: Tensor) -> Tensor:
    """Trapezoidal area under [steps + 1, B] over a length of 1."""
    return (curve.sum(0) - (curve[0] + curve[-1]) / 2) / (len(curve) - 1)
