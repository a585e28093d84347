"""BatchNorm in eval mode as part of the layer before it."""

from egat_hub.folding.folded import Folding, Pair, folded
from egat_hub.folding.graphs import GraphCache, check_capturable
from egat_hub.folding.pairs import find_pairs

__all__ = ["Folding", "GraphCache", "Pair", "check_capturable", "find_pairs", "folded"]
