"""Agreement of saliency maps with object masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from egat_hub.core.config import check_choices
from egat_hub.core.metric import Key, Metric, Section, Values, key, register, where
from egat_hub.explanations import dead, enlarge
from egat_hub.metrics.batch import EvaluationBatch, Target

RULE = "share of maximum"
"""How ``Localisation.threshold`` defines the region of a map."""

LOCALISATION = Section(
    "Localisation of explanations",
    "Agreement of maps with masks of the object, in %. A bump in the centre scores high where objects are in "
    "the middle.",
    across="map",
)


_mask = partial(Metric, section=LOCALISATION, table="localisation")
_map = partial(_mask, better="higher", shown={"map": "model"}, control={"map": "centre"})
register(
    _map(
        name="pointing_game",
        title="pointing",
        about="share of maps whose highest pixel is on the object, or near it",
    ),
    _map(name="energy_inside", title="energy", about="share of the map that is on the object"),
    _map(name="mask_iou", title="IoU", about="intersection over union of the object and the map's region"),
    _mask(name="mask_area", title="mask area", about="share of the image that is object"),
)


class Located(NamedTuple):
    """Localization metrics, each [B] in [0, 1]; 0 for maps without a positive value.

    Attributes:
        pointing: 1 if the highest pixel is on the object or within the tolerance of it, else 0.
        energy: share of the map's sum that is on the object.
        iou: intersection over union of the object and the map's region.
    """

    pointing: Tensor
    energy: Tensor
    iou: Tensor


@dataclass(frozen=True, kw_only=True)
class Localisation:
    """Pointing game, energy inside and IoU of the positive part of a map, enlarged bilinearly.

    These metrics ignore the model: a map on the object need not be faithful. Maps of the image centre score
    high if objects are centred.

    Attributes:
        tolerance: distance in pixels from the object that counts as a hit (Zhang et al. 2016, arXiv
            1608.00507: 15, for images of about 500 pixels).
        threshold: share of a map's maximum above which pixels belong to its region (Zhou et al. 2016, arXiv
            1512.04150: 0.2).
        target: class of the map.

    Raises:
        ValueError: a negative tolerance, a threshold outside (0, 1], or an unknown target.
    """

    tolerance: int = 15
    threshold: float = 0.2
    target: Target = "predicted"

    def __post_init__(self) -> None:
        check_choices(self)
        if self.tolerance < 0:
            raise ValueError(f"Expected a tolerance of at least 0 pixels, got {self.tolerance}.")
        if not 0 < self.threshold <= 1:
            raise ValueError(
                f"Expected a threshold in (0, 1], a share of the map's maximum, got {self.threshold}."
            )

    @torch.no_grad()
    def __call__(self, maps: Tensor, objects: Tensor) -> Located:
        """Measure a batch; takes no forward.

        Args:
            maps: saliency [B,h,w]; negative values count as zero.
            objects: boolean [B,H,W], True on the object.

        Raises:
            ValueError: different numbers of objects and maps.
        """
        if objects.ndim != 3 or len(objects) != len(maps):
            raise ValueError(
                f"Expected objects [{len(maps)},H,W], one for each map, got {tuple(objects.shape)}."
            )
        positive = enlarge(maps.relu(), objects.shape[-2:])
        highest = positive.amax((1, 2), keepdim=True)
        alive = highest[:, 0, 0] > 0
        total = positive.sum((1, 2))
        region = (positive >= self.threshold * highest) & alive[:, None, None]
        common, either = (region & objects).sum((1, 2)), (region | objects).sum((1, 2))
        return Located(
            (self._near(positive == highest, objects) & alive).float(),
            (positive * objects).sum((1, 2)) / torch.where(alive, total, 1.0),
            common / either.clamp(min=1),
        )

    def measure(self, batch: EvaluationBatch) -> Values:
        """Localization of the model's maps and controls; empty without masks."""
        if batch.masks is None:
            return {}
        objects = batch.masks[:, 0] >= 0.5
        values: Values = {Key("mask_area"): 100 * objects.float().mean((1, 2))}
        for name, shown in batch.with_controls(batch.of(self.target).maps).items():
            located = self(shown, objects)
            defined = objects.any(2).any(1) & ~dead(shown.relu())
            source = {"explanation": batch.explanation, "map": name, "class": self.target}
            for metric, settings, found in (
                ("pointing_game", {"tolerance": self.tolerance}, located.pointing),
                ("energy_inside", {}, located.energy),
                ("mask_iou", {"threshold": self.threshold, "rule": RULE}, located.iou),
            ):
                values[key(metric, {**source, **settings})] = where(defined, 100 * found)
        return values

    def _near(self, peaks: Tensor, objects: Tensor) -> Tensor:
        """Whether the first peak in reading order is within the tolerance of an object, boolean [B]."""
        height, width = objects.shape[-2:]
        places = torch.arange(height * width, device=peaks.device).view(height, width)
        first = torch.where(peaks, places, height * width).amin((1, 2))[:, None, None]
        distance = (places // width - first // width).square() + (places % width - first % width).square()
        return ((distance <= self.tolerance**2) & objects).any(2).any(1)
