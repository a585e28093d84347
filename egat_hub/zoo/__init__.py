"""Published models: find them, compare them, and load them by names of timm's.

Importing this room makes timm know the models of the index that the package ships.
"""

from egat_hub.zoo.index import shipped
from egat_hub.zoo.leaderboard import Leaderboard, leaderboard
from egat_hub.zoo.listing import list_models
from egat_hub.zoo.model import ZooModel
from egat_hub.zoo.timm_names import register

__all__ = ["Leaderboard", "ZooModel", "leaderboard", "list_models", "register", "shipped"]

register(shipped())
