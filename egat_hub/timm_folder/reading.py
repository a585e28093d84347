"""A network from timm's own files."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from egat_hub.timm_folder.blueprint import blueprint
from egat_hub.timm_folder.config import NetworkConfig
from egat_hub.timm_folder.names import CONFIG, WEIGHTS
from egat_hub.timm_folder.weights import check_weights, count_numbers, read_header


def read_network(folder: Path) -> nn.Module:
    """The network in ``folder`` with its weights, on the CPU.

    Both files are checked against each other before any memory is taken for weights, so that the files bound
    what loading them costs.

    Raises:
        ValueError: a config that describes no network, or weights that are cut off, of another kind or of
            another network; the message names the file and the first differences.
    """
    config = NetworkConfig.read(folder / CONFIG)
    header = read_header(folder / WEIGHTS)
    check_weights(folder / WEIGHTS, header, blueprint(config, numbers=count_numbers(header)))
    net = config.build()
    net.load_state_dict(load_file(folder / WEIGHTS))
    return net
