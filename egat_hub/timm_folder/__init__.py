"""timm's files of a saved network, ``config.json`` and ``model.safetensors``, written and read with care."""

from typing import TYPE_CHECKING

from egat_hub.lazy import lazy_exports

if TYPE_CHECKING:
    from egat_hub.timm_folder.config import NetworkConfig as NetworkConfig
    from egat_hub.timm_folder.names import CONFIG as CONFIG
    from egat_hub.timm_folder.names import WEIGHTS as WEIGHTS
    from egat_hub.timm_folder.reading import read_network as read_network
    from egat_hub.timm_folder.writing import write_network as write_network
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "config": ("NetworkConfig",),
            "names": ("CONFIG", "WEIGHTS"),
            "reading": ("read_network",),
            "writing": ("write_network",),
        },
    )
