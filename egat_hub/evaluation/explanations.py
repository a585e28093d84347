"""Metrics of explanations, of a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from egat_hub.attacks import ExplanationAttack
from egat_hub.core.randomness import SampleRandom
from egat_hub.evaluation.columns import Columns, column, percent, where
from egat_hub.explanations import EXPLANATIONS, Explanation, dead
from egat_hub.explanations.similarity import STABILITY
from egat_hub.metrics import CONTROLS, Faithfulness, InsertionDeletion, Localisation, Removal, Target
from egat_hub.metrics.localisation import RULE
from egat_hub.models import TimmModel
from egat_hub.models.timm_model import View

UNSURE = 0.01
"""Probability below which nothing is divided by it."""


class Judged(NamedTuple):
    """Classes [B], their probabilities [B], and the model's maps [B,h,w] of them."""

    classes: Tensor
    probability: Tensor
    maps: Tensor


@dataclass(frozen=True, eq=False)
class Explained:
    """A batch and its signed maps; their ReLU is what is shown and trained.

    Negative values order the pixels that the ReLU would make equal, so that a top region larger than the
    positive part of a map is not filled up in an order that means nothing.
    """

    model: TimmModel
    view: View
    labels: Tensor
    random: SampleRandom
    name: str
    explanation: Explanation

    @cached_property
    def predicted(self) -> Judged:
        """The class that the model predicts."""
        return self._judged(self.view.logits.argmax(1))

    @cached_property
    def labelled(self) -> Judged:
        """The true class; its maps are not computed unless they are asked for."""
        return self._judged(self.labels)

    def of(self, target: Target) -> Judged:
        """The classes that a figure is about."""
        return self.predicted if target == "predicted" else self.labelled

    def rivals(self, maps: Tensor) -> dict[str, Tensor]:
        """The model's maps and those of each control, by name."""
        return {"model": maps, **{name: CONTROLS[name](maps, self.random) for name in CONTROLS}}

    def _judged(self, classes: Tensor) -> Judged:
        probability = self.view.logits.float().softmax(1).gather(1, classes[:, None])[:, 0]
        return Judged(classes, probability, self.explanation.of(self.model, self.view, classes))


def dead_maps(explained: Explained) -> Columns:
    """Which maps of predicted classes are constant."""
    maps = explained.predicted.maps
    return {column("dead_maps", {"explanation": explained.name}): percent(dead(maps.relu()))}


def faithfulness(explained: Explained, faithful: Faithfulness) -> Columns:
    """Comprehensiveness and sufficiency of the model's maps and of controls, relative ones and means."""
    model, images = explained.model, explained.view.images
    classes, probability, maps = explained.of(faithful.target)
    columns: Columns = {}
    for name, judged in explained.rivals(maps).items():
        removals = faithful(model, images, judged, classes, probability, explained.random)
        for name_of, settings, comp, suff in _variants(removals, probability, faithful.shares):
            protocol = {"explanation": explained.name, "map": name, **settings, "class": faithful.target}
            columns[column(name_of("comprehensiveness"), protocol)] = where(~dead(judged), 100 * comp)
            columns[column(name_of("sufficiency"), protocol)] = where(~dead(judged), 100 * suff)
    return columns


def _variants(
    removals: list[Removal], probability: Tensor, shares: tuple[float, ...]
) -> Iterator[tuple[Callable[[str], str], dict[str, Any], Tensor, Tensor]]:
    """Format of the metrics' names, settings, comprehensiveness and sufficiency."""
    for q, fill, comp, suff in removals:
        yield "{}".format, {"q": q, "fill": fill}, comp, suff
    q, fill, comp, suff = removals[0]
    sure = where(probability >= UNSURE, probability)
    yield "relative_{}".format, {"q": q, "fill": fill}, comp / sure, suff / sure
    if shares:
        for fill in dict.fromkeys(removal.fill for removal in removals):
            mine = [removal for removal in removals if removal.fill == fill and removal.q in shares]
            comp, suff = (torch.stack(found).mean(0) for found in zip(*(m[2:] for m in mine), strict=True))
            yield "{}_aopc".format, {"shares": " ".join(f"{q:g}" for q in shares), "fill": fill}, comp, suff


def insertion_deletion(explained: Explained, curves: InsertionDeletion, chunk: int) -> Columns:
    """Areas under both curves, of the model's maps and of controls."""
    model, images = explained.model, explained.view.images
    classes, _, maps = explained.of(curves.target)
    columns: Columns = {}
    for name, judged in explained.rivals(maps).items():
        areas = curves(model, images, judged, classes, explained.random, chunk=chunk)
        source = {"explanation": explained.name, "map": name, "steps": curves.steps}
        for metric, fill, values in (
            ("insertion_auc", curves.insertion_fill, areas.insertion),
            ("deletion_auc", curves.deletion_fill, areas.deletion),
        ):
            protocol = {**source, "fill": fill, "class": curves.target}
            columns[column(metric, protocol)] = where(~dead(judged), 100 * values)
    return columns


def localisation(explained: Explained, masks: Tensor, locate: Localisation) -> Columns:
    """How well the model's maps and controls find the objects of masks [B,1,H,W] in [0,1]."""
    objects = masks[:, 0] >= 0.5
    columns: Columns = {column("mask_area", {}): 100 * objects.float().mean((1, 2))}
    for name, judged in explained.rivals(explained.of(locate.target).maps).items():
        located = locate(judged, objects)
        defined = objects.any(2).any(1) & ~dead(judged.relu())
        source = {"explanation": explained.name, "map": name, "class": locate.target}
        for metric, settings, values in (
            ("pointing_game", {"tolerance": locate.tolerance}, located.pointing),
            ("energy_inside", {}, located.energy),
            ("mask_iou", {"threshold": locate.threshold, "rule": RULE}, located.iou),
        ):
            columns[column(metric, {**source, **settings})] = where(defined, 100 * values)
    return columns


def stability(
    explained: Explained, correct: Tensor, attacked: Tensor, attacked_by: Mapping[str, Any]
) -> Columns:
    """Maps of the same class before and after the attack, where the clean prediction is right.

    Besides all of them, those whose prediction the attack flipped and those that kept it. Cost: a forward of
    the images that are classified correctly.
    """
    chosen = correct if correct.any() else ~correct  # some, for every batch has to have the same figures
    model, (classes, _, maps) = explained.model, explained.predicted
    classes, maps, known = classes[chosen], maps[chosen], correct[chosen]
    after = model.view(attacked[chosen])
    other = explained.explanation.of(model, after, classes)
    lost = dead(maps.relu()) | dead(other.relu())
    kept = after.logits.argmax(1) == classes
    protocol = {"explanation": explained.name, **attacked_by}

    def spread(defined: Tensor, values: Tensor) -> Tensor:
        whole = torch.full(correct.shape, torch.nan, device=correct.device)
        whole[chosen] = where(defined, values)
        return whole

    columns = {column("dead_map_pairs", protocol): spread(known, percent(lost))}
    for name in STABILITY:
        agreement = STABILITY[name](maps, other, tuple(attacked.shape[-2:]))
        measured = {"measure": name, **protocol}
        columns[column("stability", measured)] = spread(known & ~lost, agreement)
        for prediction, those in (("kept", kept), ("flipped", ~kept)):
            split = {**measured, "prediction": prediction}
            columns[column("stability", split)] = spread(known & ~lost & those, agreement)
    return columns


Figure = tuple[str, dict[str, Any], Tensor]
"""Metric, protocol, and values [B], NaN where the figure is not defined."""


def attacked_maps(
    model: TimmModel,
    images: Tensor,
    correct: Tensor,
    random: SampleRandom,
    *,
    attacks: Mapping[str, ExplanationAttack],
    explanation: str,
    epsilon: float,
) -> Iterator[Figure]:
    """Attack the maps of the images that are classified correctly, with every attack in turn.

    For each attack, over the images that are classified correctly and whose maps are alive before and after:
    ``explanation_attack_success``, the share in % for which it succeeds; ``flipped_predictions``, the share
    in % whose prediction changes; agreements of the maps before and after as ``map_stability`` if the
    prediction has to stay, or, if it has to flip, of those that did as ``flipped_stability``.
    ``dead_map_pairs`` is the share in % of the images that are classified correctly but left out.

    Args:
        model: the network.
        images: clean images [B,3,H,W] in [0,1].
        correct: [B], whether they are classified correctly.
        random: keyed random numbers of these images.
        attacks: attacks by name.
        explanation: name of the explanation.
        epsilon: budget in [0, 1].
    """
    explain = EXPLANATIONS[explanation](relu=False, normalize="none")
    chosen = correct if correct.any() else ~correct  # some, for every batch has to have the same figures
    for name, attack in attacks.items():
        found = attack(model, explain, images[chosen], epsilon, random=random.select(chosen))
        attacked_by = {"attack": name, "epsilon": epsilon, **attack.protocol(explain)}
        protocol = {"explanation": explanation, **attacked_by}
        known = correct[chosen]
        stability = "flipped_stability" if attack.flips else "map_stability"
        figures = [
            ("dead_map_pairs", protocol, 100.0 * ~found.alive, known),
            ("flipped_predictions", protocol, 100.0 * ~found.same_prediction, known & found.alive),
            ("explanation_attack_success", protocol, 100.0 * found.success, known & found.alive),
        ]
        figures += [
            (
                stability,
                {"measure": measure, **protocol},
                values,
                known & (found.same_prediction != attack.flips),
            )
            for measure, values in found.agreement.items()
        ]
        for metric, settings, values, defined in figures:
            spread = torch.full(correct.shape, torch.nan, device=correct.device)
            spread[chosen] = torch.where(defined, values.float(), torch.nan)
            yield metric, settings, spread
