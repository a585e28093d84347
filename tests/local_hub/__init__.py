"""A Hugging Face Hub of its own on 127.0.0.1, for the real clients."""

from .faults import KINDS, Fault
from .server import LocalHub
from .store import GUEST, OWNER

__all__ = ["GUEST", "KINDS", "OWNER", "Fault", "LocalHub"]
