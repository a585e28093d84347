"""Networks cut in two at a module inside: a map of features before it, logits after it."""

from egat_hub.cutting.cut import Cut
from egat_hub.cutting.search import NoCutError, find_cut

__all__ = ["Cut", "NoCutError", "find_cut"]
