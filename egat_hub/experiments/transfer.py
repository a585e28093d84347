"""Whether images made against one model harm another more than those made against itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from egat_hub.attacks import Attack
from egat_hub.backbone import Backbone
from egat_hub.experiments.tables.table import Entry, Table
from egat_hub.modes import evaluating
from egat_hub.randomness import SampleRandom
from egat_hub.results import Summary


@torch.no_grad()
def transfer(
    models: Mapping[str, Backbone],
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    epsilon: float,
    random: SampleRandom,
) -> dict[tuple[str, str], float]:
    """Accuracy in percent by (model that is judged, model that the images were made against).

    Args:
        models: networks of the same classes, by name.
        images: clean images [B,3,H,W] in [0,1].
        labels: true classes [B].
        attack: what makes the images.
        epsilon: its budget, in [0, 1].
        random: keyed random numbers of the images.
    """
    found = {}
    for source, against in models.items():
        perturbed = attack(against, images, labels, epsilon, random=random)
        for target, model in models.items():
            with evaluating(model):
                correct = model(perturbed).argmax(1) == labels
            found[target, source] = 100.0 * correct.float().mean().item()
    return found


def transfer_table(found: Sequence[Mapping[tuple[str, str], float]], title: str) -> Table:
    """A line for each model that is judged, a column for each that is attacked; a mapping is a seed."""
    names = list(dict.fromkeys(target for target, _ in found[0]))
    lines = {
        target: tuple(Entry(Summary.of([seed[target, source] for seed in found])) for source in names)
        for target in names
    }
    return Table(title, tuple(f"against {name}" for name in names), lines)
