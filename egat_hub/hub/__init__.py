"""Models as folders and on the Hugging Face Hub: save, load, push, list."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
