"""Attacks on predictions and on explanations, for training and for evaluation."""

from egat_hub.attacks.auto_attack import AutoAttack
from egat_hub.attacks.base import ATTACKS, Attack, Attacked, GradientAttack
from egat_hub.attacks.curve import CurvePoint, attack_curve, to_eight_bits
from egat_hub.attacks.explanation import EXPLANATION_ATTACKS, ExplanationAttack
from egat_hub.attacks.explanation_goals import KeepMap, MassCentre, TargetMap, TopK
from egat_hub.attacks.pgd import FGSM, MIFGSM, PGD
from egat_hub.attacks.training import (
    FGSMRS,
    NFGSM,
    TRAINING_ATTACKS,
    EarlyStop,
    PlainPGD,
    Ramp,
    TrainingAttack,
    Warm,
)

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
    "Attacked",
    "AutoAttack",
    "CurvePoint",
    "EarlyStop",
    "ExplanationAttack",
    "GradientAttack",
    "KeepMap",
    "MassCentre",
    "PlainPGD",
    "Ramp",
    "TargetMap",
    "TopK",
    "TrainingAttack",
    "Warm",
    "attack_curve",
    "to_eight_bits",
]
