"""Stability of explanations under attacks on the prediction and on the explanation; constant maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from egat_hub.attacks import ExplanationAttack
from egat_hub.core.metric import Metric, Section, Values, key, percent, register, where
from egat_hub.explanations import dead
from egat_hub.explanations.similarity import STABILITY
from egat_hub.metrics.batch import EvaluationBatch

STABLE = Section(
    "Stability of explanations",
    "Agreement of two maps, 1 for equal ones, on all images and by whether the attack flipped the "
    "prediction.",
    across="epsilon",
)
ATTACKED = Section("Explanations under attack", "Attacks on the explanation itself.", across="epsilon")
DEAD = Section("Dead maps", "Constant maps explain nothing.")

SPLIT = "topk_overlap"
"""The measure that tables show by what became of the prediction, too."""


def dead_maps(batch: EvaluationBatch) -> Values:
    """Which maps of predicted classes are constant."""
    if batch.network is None:
        return {}
    return {key("dead_maps", {"explanation": batch.explanation}): percent(dead(batch.predicted.maps.relu()))}


register(
    Metric(
        name="stability",
        title="stability",
        about=f"agreement of the map before and after the attack; in the first table {SPLIT}, the share of "
        "the top 20 % pixels that stays",
        section=STABLE,
        better="higher",
        digits=2,
        table="results",
        shown={"measure": SPLIT, "prediction": None},
    ),
    Metric(
        name="explanation_attack_success",
        title="attack success",
        about="share of images, in %, whose map an attack changes with the prediction unchanged, or, with "
        "keep_map, whose prediction it flips with the map unchanged",
        section=ATTACKED,
        better="lower",
        table="results",
        columns="attack",
    ),
    Metric(
        name="flipped_predictions",
        title="flipped",
        about="share of images, in %, whose prediction changed",
        section=ATTACKED,
    ),
    Metric(
        name="map_stability",
        title="map stability",
        about="agreement of the maps before and after, the prediction unchanged",
        section=ATTACKED,
        better="higher",
    ),
    Metric(
        name="flipped_stability",
        title="flipped stability",
        about="agreement of the maps of two different predictions; a high one hides the flip",
        section=ATTACKED,
    ),
    Metric(
        name="dead_maps",
        title="dead maps",
        about="share of maps that are constant, in %",
        section=DEAD,
        better="lower",
        measure=dead_maps,
    ),
    Metric(
        name="dead_map_pairs",
        title="dead map pairs",
        about="share of images, in %, whose map is constant before or after the attack",
        section=DEAD,
        better="lower",
    ),
)


def stability(batch: EvaluationBatch, attacked: Tensor, attack: Mapping[str, Any]) -> Values:
    """Agreement of the maps of the clean class before and after the attack, of correctly classified images.

    Of all of them, of those whose prediction the attack flipped and of those that kept it. Cost: a forward of
    the correctly classified images.

    Args:
        batch: the clean images.
        attacked: attacked images [B,3,H,W] in [0,1].
        attack: protocol of the attack.
    """
    assert batch.network is not None
    chosen = batch.attacked()
    classes, maps = batch.predicted.classes[chosen], batch.predicted.maps[chosen]
    known = batch.correct[chosen]
    after = batch.network.view(attacked[chosen])
    other = batch.explain.of(batch.network, after, classes)
    lost = dead(maps.relu()) | dead(other.relu())
    kept = after.logits.argmax(1) == classes
    protocol = {"explanation": batch.explanation, **attack}
    values = {key("dead_map_pairs", protocol): batch.spread(chosen, where(known, percent(lost)))}
    for name in STABILITY:
        agreement = STABILITY[name](maps, other, tuple(attacked.shape[-2:]))
        measured = {"measure": name, **protocol}
        for split, those in (
            ({}, known),
            ({"prediction": "kept"}, known & kept),
            ({"prediction": "flipped"}, known & ~kept),
        ):
            defined = where(those & ~lost, agreement)
            values[key("stability", {**measured, **split})] = batch.spread(chosen, defined)
    return values


def explanation_attacks(
    batch: EvaluationBatch, attacks: Mapping[str, ExplanationAttack], epsilon: float
) -> Values:
    """Success of attacks on the maps of images that are classified correctly, and agreement of the maps."""
    assert batch.network is not None
    chosen = batch.attacked()
    known = batch.correct[chosen]
    values: Values = {}
    for name, attack in attacks.items():
        random = batch.random.select(chosen)
        found = attack(batch.network, batch.explain, batch.images[chosen], epsilon, random=random)
        settings = {"attack": name, "epsilon": epsilon, **attack.protocol(batch.explain)}
        protocol = {"explanation": batch.explanation, **settings}
        stable = "flipped_stability" if attack.flips else "map_stability"
        measured = [
            ("dead_map_pairs", {}, 100.0 * ~found.alive, known),
            ("flipped_predictions", {}, 100.0 * ~found.same_prediction, known & found.alive),
            ("explanation_attack_success", {}, 100.0 * found.success, known & found.alive),
            *(
                (stable, {"measure": measure}, agreement, known & (found.same_prediction != attack.flips))
                for measure, agreement in found.agreement.items()
            ),
        ]
        for metric, measure, of_chosen, defined in measured:
            values[key(metric, {**measure, **protocol})] = batch.spread(chosen, where(defined, of_chosen))
    return values
