"""Training methods."""

from egat_hub.methods.adversarial import PGDAT, AdversarialConfig, AdversarialMethod
from egat_hub.methods.align import ALIGN, ALIGNConfig
from egat_hub.methods.base import ERM, METHODS, Batch, Method, MethodConfig
from egat_hub.methods.dmada import DMADA, DMADAConfig
from egat_hub.methods.dre import DRE, DREConfig
from egat_hub.methods.egat import EGAT, EGATConfig
from egat_hub.methods.environments import ENVIRONMENTS
from egat_hub.methods.gradient_regularization import IGR, RRR, SGT, IGRConfig, RRRConfig, SGTConfig
from egat_hub.methods.ign import IGN, IGNConfig
from egat_hub.methods.irm import IRM, IRMConfig
from egat_hub.methods.sgdrop import SGDrop, SGDropConfig
from egat_hub.methods.trades import TRADES, TRADESConfig

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
    "ALIGNConfig",
    "AdversarialConfig",
    "AdversarialMethod",
    "Batch",
    "DMADAConfig",
    "DREConfig",
    "EGATConfig",
    "IGNConfig",
    "IGRConfig",
    "IRMConfig",
    "Method",
    "MethodConfig",
    "RRRConfig",
    "SGDrop",
    "SGDropConfig",
    "SGTConfig",
    "TRADESConfig",
]
