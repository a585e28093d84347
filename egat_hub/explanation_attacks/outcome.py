"""What an attack on explanations gives back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from egat_hub.explanation_attacks.look import Look


class AttackedMaps(NamedTuple):
    """Perturbed images, and what a fresh forward on them shows.

    Attributes:
        images: [B,3,H,W]; where nothing that counts was found, the clean image.
        clean: predictions and signed maps of the clean images.
        shown: predictions and signed maps of ``images``, each map that of the class predicted there.
        kept: [B], whether the prediction is that of the clean image.
        alive: [B], whether neither map is dead. What is not alive has no agreement and is no success.
        agreement: by the name of every measure of :data:`egat_hub.metrics.STABILITY`, the agreement [B] of
            both maps; NaN where one is dead.
        success: [B], whether the attack reached what it wants of prediction and map.
    """

    images: Tensor
    clean: Look
    shown: Look
    kept: Tensor
    alive: Tensor
    agreement: Mapping[str, Tensor]
    success: Tensor
