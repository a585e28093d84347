"""A Hugging Face Hub of its own on 127.0.0.1, for the real clients."""

from tests.helpers.local_hub.faults import KINDS, Fault
from tests.helpers.local_hub.server import LocalHub
from tests.helpers.local_hub.store import GUEST, OWNER

__all__ = ["GUEST", "KINDS", "OWNER", "Fault", "LocalHub"]
