"""Robust and explainable image classifiers around any timm backbone.

A name is imported when it is first used, so that ``import egat_hub`` takes no time.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
