"""Attacks on explanations: the map is moved while the prediction stays, or the other way round."""

from egat_hub.explanation_attacks.base import EXPLANATION_ATTACKS, ExplanationAttack
from egat_hub.explanation_attacks.keep_map import KeepMap
from egat_hub.explanation_attacks.look import Look
from egat_hub.explanation_attacks.mass_centre import MassCentre
from egat_hub.explanation_attacks.outcome import AttackedMaps
from egat_hub.explanation_attacks.target_map import TargetMap
from egat_hub.explanation_attacks.top_k import TopK

__all__ = [
    "EXPLANATION_ATTACKS",
    "AttackedMaps",
    "ExplanationAttack",
    "KeepMap",
    "Look",
    "MassCentre",
    "TargetMap",
    "TopK",
]
