"""Training methods; ERM is in ``base``, and PGD-AT in ``adversarial``."""

from egat_hub.methods.adversarial import PGDAT, AdversarialConfig, AdversarialMethod
from egat_hub.methods.align import ALIGN
from egat_hub.methods.base import ERM, METHODS, Batch, Method, MethodConfig
from egat_hub.methods.dmada import DMADA
from egat_hub.methods.dre import DRE
from egat_hub.methods.egat import EGAT, EGATConfig
from egat_hub.methods.gradient_regularization import IGR, RRR, SGT
from egat_hub.methods.ign import IGN
from egat_hub.methods.irm import ENVIRONMENTS, IRM
from egat_hub.methods.sgdrop import SGDrop
from egat_hub.methods.trades import TRADES

__all__ = [
    "ALIGN",
    "DMADA",
    "DRE",
    "EGAT",
    "ENVIRONMENTS",
    "ERM",
    "IGN",
    "IGR",
    "IRM",
    "METHODS",
    "PGDAT",
    "RRR",
    "SGT",
    "TRADES",
    "AdversarialConfig",
    "AdversarialMethod",
    "Batch",
    "EGATConfig",
    "Method",
    "MethodConfig",
    "SGDrop",
]
