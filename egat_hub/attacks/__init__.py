"""Attacks on predictions."""

from egat_hub.attacks.auto_attack import AutoAttack
from egat_hub.attacks.base import ATTACKS, Attack, Attacked
from egat_hub.attacks.curve import CurvePoint, attack_curve
from egat_hub.attacks.eight_bit import to_eight_bits
from egat_hub.attacks.fgsm import FGSM
from egat_hub.attacks.gradient import GradientAttack
from egat_hub.attacks.mi_fgsm import MIFGSM
from egat_hub.attacks.pgd import PGD

__all__ = [
    "ATTACKS",
    "FGSM",
    "MIFGSM",
    "PGD",
    "Attack",
    "Attacked",
    "AutoAttack",
    "CurvePoint",
    "GradientAttack",
    "attack_curve",
    "to_eight_bits",
]
