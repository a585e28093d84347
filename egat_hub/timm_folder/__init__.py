"""timm's files of a saved network, ``config.json`` and ``model.safetensors``, written and read with care."""

from egat_hub.timm_folder.config import CONFIG, NetworkConfig
from egat_hub.timm_folder.reading import read_network
from egat_hub.timm_folder.weights import WEIGHTS
from egat_hub.timm_folder.writing import write_network

__all__ = ["CONFIG", "WEIGHTS", "NetworkConfig", "read_network", "write_network"]
