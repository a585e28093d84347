"""Training methods."""

from egat_hub.methods.adversarial import AdversarialConfig, AdversarialMethod
from egat_hub.methods.align import ALIGN, ALIGNConfig
from egat_hub.methods.base import METHODS, Batch, Method, MethodConfig
from egat_hub.methods.dmada import DMADA, DMADAConfig
from egat_hub.methods.dre import DRE, DREConfig
from egat_hub.methods.egat import EGAT, EGATConfig
from egat_hub.methods.environments import ENVIRONMENTS
from egat_hub.methods.erm import ERM
from egat_hub.methods.ign import IGN, IGNConfig
from egat_hub.methods.igr import IGR, IGRConfig
from egat_hub.methods.irm import IRM, IRMConfig
from egat_hub.methods.pgd_at import PGDAT
from egat_hub.methods.rrr import RRR, RRRConfig
from egat_hub.methods.sgdrop import SGDrop, SGDropConfig
from egat_hub.methods.sgt import SGT, SGTConfig
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
