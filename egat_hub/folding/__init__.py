"""BatchNorm in eval mode as part of the layer before it."""

from egat_hub.folding.folded import Pair, folded
from egat_hub.folding.pairs import find_pairs

__all__ = ["Pair", "find_pairs", "folded"]
