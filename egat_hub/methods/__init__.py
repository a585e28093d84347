"""Training methods."""

from egat_hub.methods.adversarial import AdversarialConfig
from egat_hub.methods.base import METHODS, Batch, Method, MethodConfig
from egat_hub.methods.egat import EGAT, EGATConfig
from egat_hub.methods.erm import ERM
from egat_hub.methods.pgd_at import PGDAT
from egat_hub.methods.trades import TRADES, TRADESConfig

__all__ = [
    "EGAT",
    "ERM",
    "METHODS",
    "PGDAT",
    "TRADES",
    "AdversarialConfig",
    "Batch",
    "EGATConfig",
    "Method",
    "MethodConfig",
    "TRADESConfig",
]
