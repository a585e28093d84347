"""Figures of explanations that are attacked themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from egat_hub.backbone import Backbone
from egat_hub.explanation_attacks import ExplanationAttack
from egat_hub.explanations import EXPLANATIONS
from egat_hub.randomness import SampleRandom

Figure = tuple[str, dict[str, Any], Tensor]
"""Metric, protocol, and values [B], NaN where the figure is not defined."""


def attacked_maps(
    backbone: Backbone,
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
    ``Fooled``, the share in % for which it succeeds; ``Flipped``, the share in % whose prediction changes;
    agreements of the maps before and after as ``MapStability`` if the prediction has to stay, or, if it has
    to flip, of those that did as ``FlippedStability``. ``DeadPairs`` is the share in % of the images that are
    classified correctly but left out.

    Args:
        backbone: the network.
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
        found = attack(backbone, explain, images[chosen], epsilon, random=random.select(chosen))
        attacked_by = {"attack": name, "epsilon": epsilon, **attack.protocol(explain)}
        protocol = {"explanation": explanation, **attacked_by}
        known = correct[chosen]
        stability = "FlippedStability" if attack.flips else "MapStability"
        figures = [
            ("DeadPairs", protocol, 100.0 * ~found.alive, known),
            ("Flipped", protocol, 100.0 * ~found.kept, known & found.alive),
            ("Fooled", protocol, 100.0 * found.success, known & found.alive),
        ]
        figures += [
            (stability, {"measure": measure, **protocol}, values, known & (found.kept != attack.flips))
            for measure, values in found.agreement.items()
        ]
        for metric, settings, values, defined in figures:
            spread = torch.full(correct.shape, torch.nan, device=correct.device)
            spread[chosen] = torch.where(defined, values.float(), torch.nan)
            yield metric, settings, spread
