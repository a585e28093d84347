"""Attacks on predictions and on explanations, for training and for evaluation."""

from egat_hub.attacks.auto_attack import AutoAttack
from egat_hub.attacks.base import ATTACKS, TRAINING_ATTACKS, Attack, AttackResult, Objective
from egat_hub.attacks.curve import CurvePoint, attack_curve, to_eight_bits
from egat_hub.attacks.explanation import EXPLANATION_ATTACKS, ExplanationAttack
from egat_hub.attacks.explanation_goals import KeepMap, MassCentre, TargetMap, TopK
from egat_hub.attacks.pgd import FGSM, MIFGSM, PGD
from egat_hub.attacks.training import FGSMRS, NFGSM, EarlyStop, Ramp, Warm

__all__ = [
    "ATTACKS",
    "EXPLANATION_ATTACKS",
    "FGSM",
    "FGSMRS",
    "MIFGSM",
    "NFGSM",
    "PGD",
    "TRAINING_ATTACKS",
    "Attack",
    "AttackResult",
    "AutoAttack",
    "CurvePoint",
    "EarlyStop",
    "ExplanationAttack",
    "KeepMap",
    "MassCentre",
    "Objective",
    "Ramp",
    "TargetMap",
    "TopK",
    "Warm",
    "attack_curve",
    "to_eight_bits",
]
