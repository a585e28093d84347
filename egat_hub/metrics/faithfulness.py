"""Comprehensiveness and sufficiency (Eq. 19 and 20 of the EGAT paper; ERASER, DeYoung et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean, stdev
from typing import Any, NamedTuple

import torch
from torch import Tensor

from egat_hub.core.config import check_choices
from egat_hub.core.metric import Better, Metric, Section, Values, key, register, where
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.results import SANITY_CHECK, Outcome
from egat_hub.explanations import dead
from egat_hub.explanations.similarity import pixel_ranks, top_count
from egat_hub.metrics.batch import FILLS, EvaluationBatch, Target
from egat_hub.models import TimmModel
from egat_hub.models.train_mode import evaluating

FAITHFULNESS = Section(
    "Faithfulness of explanations",
    "Change of the class's probability when pixels are removed, x 100. A map that explains the model differs "
    "from its controls.",
    across="map",
)


def _record(name: str, title: str, about: str, better: Better, *, headline: bool = False) -> Metric:
    maps: dict[str, Any] = {"shown": {"map": "model"}, "control": {"map": "random"}, "section": FAITHFULNESS}
    table = "results" if headline else "faithfulness"
    return Metric(name=name, title=title, about=about, better=better, table=table, headline=headline, **maps)


WITHOUT = "fall of the class's probability without the most salient pixels"
ALONE = "fall of the class's probability with the most salient pixels alone"
register(
    _record("comprehensiveness", "comprehensiveness", WITHOUT, "higher", headline=True),
    _record("sufficiency", "sufficiency", ALONE, "lower", headline=True),
    _record("relative_comprehensiveness", "comprehensiveness / p", f"{WITHOUT}, relative to it", "higher"),
    _record("relative_sufficiency", "sufficiency / p", f"{ALONE}, relative to it", "lower"),
    _record("comprehensiveness_aopc", "comprehensiveness AOPC", "its mean over shares of pixels", "higher"),
    _record("sufficiency_aopc", "sufficiency AOPC", "its mean over shares of pixels", "lower"),
)

UNSURE = 0.01
"""Relative metrics leave out images with a lower probability."""


class Removal(NamedTuple):
    """Comprehensiveness and sufficiency [B], in [-1, 1], at one share ``q`` with one ``fill``."""

    q: float
    fill: str
    comp: Tensor
    suff: Tensor


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """Drop of the class's probability when the top region E is removed, and when only E is kept.

    ``comprehensiveness = p_c(x) - p_c(x without E)``, higher is better;
    ``sufficiency = p_c(x) - p_c(E)``, lower is better.
    This is not Quantus' "Sufficiency" (arXiv 2202.00734).

    Attributes:
        q: share of pixels in E, for tables.
        fill: fill of removed pixels, for tables (``"mean"``, ``"black"``, ``"blur"``, ``"noise"``).
        target: class c: the ``"predicted"`` class of the clean image, or the ``"label"``.
        shares: further shares; their mean is reported, too (AOPC of ERASER).
        fills: further fills, measured with every share.

    Raises:
        ValueError: a share outside (0, 1) or repeated, or an unknown target.
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
            raise ValueError(f"Expected each share once, got {self.shares}.")

    @property
    def settings(self) -> list[tuple[float, str]]:
        """All pairs of share and fill, ``(q, fill)`` first."""
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
        """Comprehensiveness and sufficiency of every image, for each of ``settings``.

        Cost: two forwards per setting, and one sort of the pixels.

        Args:
            model: the model that is explained.
            images: [B,3,H,W] in [0,1].
            maps: saliency [B,h,w], best without ReLU; ties are ranked in reading order.
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

    def measure(self, batch: EvaluationBatch) -> Values:
        """Comprehensiveness and sufficiency of maps and controls, also relative and averaged."""
        classes, probability, maps = batch.of(self.target)
        assert batch.network is not None
        values: Values = {}
        for name, shown in batch.with_controls(maps).items():
            removals = self(batch.network, batch.images, shown, classes, probability, batch.random)
            for name_of, settings, comp, suff in self._variants(removals, probability):
                protocol = {"explanation": batch.explanation, "map": name, **settings, "class": self.target}
                for metric, found in (("comprehensiveness", comp), ("sufficiency", suff)):
                    values[key(name_of.format(metric), protocol)] = where(~dead(shown), 100 * found)
        return values

    def _variants(
        self, removals: list[Removal], probability: Tensor
    ) -> Iterator[tuple[str, dict[str, Any], Tensor, Tensor]]:
        """Format of the names, settings, comprehensiveness and sufficiency."""
        for q, fill, comp, suff in removals:
            yield "{}", {"q": q, "fill": fill}, comp, suff
        q, fill, comp, suff = removals[0]
        sure = where(probability >= UNSURE, probability)
        yield "relative_{}", {"q": q, "fill": fill}, comp / sure, suff / sure
        for fill in dict.fromkeys(removal.fill for removal in removals) if self.shares else ():
            mine = [removal for removal in removals if removal.fill == fill and removal.q in self.shares]
            comp, suff = (torch.stack(found).mean(0) for found in zip(*(m[2:] for m in mine), strict=True))
            yield "{}_aopc", {"shares": " ".join(f"{q:g}" for q in self.shares), "fill": fill}, comp, suff


MATERIAL = 5.0
"""Comprehensiveness of random maps above which their check fails."""
STANDARD_ERRORS = 3.0
"""Standard errors beyond which a mean counts as different."""

RANDOM_MAP_CHECKS = {
    "random_maps_score_high": "random maps are comprehensive too: compare the model's with theirs",
    "not_above_random_maps": "the maps are not shown to be more comprehensive than random ones",
}
"""Meaning of a failed check, by name."""


def random_map_checks(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Sanity checks of comprehensiveness with the first settings, 100 if failed, otherwise 0.

    - ``random_maps_score_high``: the comprehensiveness of random maps differs from 0 by more than 5 points
      and 3 standard errors. Removing any pixels affects the model, so values are meaningful only in
      comparison.
    - ``not_above_random_maps``: the model's maps are not better than random ones by 3 standard errors of
      the difference on the same images, so there is no evidence that they explain the model.

    Needs at least two images on which both maps of one model have a value.
    """
    comps = [outcome for outcome in outcomes if outcome.row.metric == "comprehensiveness"]
    model = next((outcome for outcome in comps if outcome.row.protocol["map"] == "model"), None)
    if model is None:
        return []
    expected = {**model.row.protocol, "map": "random"}
    control = next((outcome.values for outcome in comps if outcome.row.protocol == expected), ())
    pairs = [both for both in zip(model.values, control, strict=False) if not math.isnan(sum(both))]
    if len(pairs) < 2:
        return []
    gain, random = [mine - other for mine, other in pairs], [other for _, other in pairs]
    high = abs(fmean(random)) > max(MATERIAL, STANDARD_ERRORS * _error(random))
    not_above = fmean(gain) <= STANDARD_ERRORS * _error(gain)
    settings = {name: value for name, value in model.row.protocol.items() if name != "map"}
    found = []
    for name, failed, limits in (
        ("random_maps_score_high", high, {"beyond": MATERIAL}),
        ("not_above_random_maps", not_above, {}),
    ):
        protocol = {"check": name, "limit": 0.0, **settings, **limits, "standard_errors": STANDARD_ERRORS}
        row = replace(model.row, metric=SANITY_CHECK, value=100.0 * failed, n=len(pairs), protocol=protocol)
        found.append(Outcome(row, [row.value]))
    return found


def _error(values: Sequence[float]) -> float:
    """Standard error of the mean."""
    return stdev(values) / math.sqrt(len(values))
