"""Published models: find them and compare them; and those of this release under names of timm's.

Importing this room imports neither PyTorch nor timm.
"""

from egat_hub.zoo.index import shipped
from egat_hub.zoo.leaderboard import Leaderboard, leaderboard
from egat_hub.zoo.listing import list_models
from egat_hub.zoo.model import ZooModel

__all__ = ["Leaderboard", "ZooModel", "leaderboard", "list_models", "shipped"]
