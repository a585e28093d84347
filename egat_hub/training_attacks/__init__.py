"""How methods that attack while they train find their images."""

from egat_hub.training_attacks.ascent import Ascent, Slope
from egat_hub.training_attacks.base import TRAINING_ATTACKS, Found, TrainingAttack
from egat_hub.training_attacks.early_stop import EarlyStop
from egat_hub.training_attacks.fgsm_rs import FGSMRS
from egat_hub.training_attacks.memory import Memory
from egat_hub.training_attacks.n_fgsm import NFGSM
from egat_hub.training_attacks.pgd import PlainPGD
from egat_hub.training_attacks.ramp import Ramp
from egat_hub.training_attacks.warm import Warm

__all__ = [
    "FGSMRS",
    "NFGSM",
    "TRAINING_ATTACKS",
    "Ascent",
    "EarlyStop",
    "Found",
    "Memory",
    "PlainPGD",
    "Ramp",
    "Slope",
    "TrainingAttack",
    "Warm",
]
