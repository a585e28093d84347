"""timm's files of a saved network, written and read with care."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.data import resolve_model_data_config
from timm.models import save_for_hf
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from egat_hub.hub.timm_config import NetworkConfig
from egat_hub.hub.weights import CONFIG, MAX_TENSORS, WEIGHTS, check_weights, count_numbers, read_header
from egat_hub.models import TimmModel

SPARE = 2**25
"""How many numbers a network may hold beyond twice those of its weights: tables that are not saved."""


def blueprint(config: NetworkConfig, *, numbers: int) -> nn.Module:
    """The network of a config on the meta device, where tensors have a shape and no memory.

    Building stops as soon as the network outgrows its weights, so that a config cannot ask for more than the
    file beside it holds.

    Args:
        config: which network.
        numbers: how many numbers the file of its weights holds.

    Raises:
        ValueError: timm cannot build the network, or it holds far more than ``numbers``.
    """
    with torch.device("meta"), _counting(2 * numbers + SPARE):
        return config.build()


@contextmanager
def _counting(limit: int) -> Iterator[None]:
    thread, used, tensors = threading.get_ident(), 0, 0

    def count(module: nn.Module, name: str, tensor: Any) -> None:
        nonlocal used, tensors
        if tensor is None or threading.get_ident() != thread:
            return
        used, tensors = used + tensor.numel(), tensors + 1
        if used > limit or tensors > MAX_TENSORS:
            raise ValueError(
                f"the network has more than {MAX_TENSORS:,} tensors"
                if tensors > MAX_TENSORS
                else f"the network holds more than the {limit:,} numbers that its weights allow"
            )

    handles = (
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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


PREPROCESSING = {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "squash"}

SOURCE_ONLY = (
    "description",
    "label_descriptions",
    "label_names",
    "notes",
    "origin_url",
    "paper_ids",
    "paper_name",
)
"""What timm's ``pretrained_cfg`` says about the weights that training started from and not about these."""


def write_network(
    model: TimmModel,
    folder: Path,
    *,
    label_names: Sequence[str],
    tag: str,
    license: str,
    model_args: Mapping[str, Any] | None = None,
) -> None:
    """Write the bare network with its true mean and std, for ``timm.create_model("local-dir:...")``.

    Args:
        model: float32 network on the CPU.
        folder: where to write.
        label_names: one name a class.
        tag: timm's tag of the weights, the part of a model's name after the dot.
        license: of the weights.
        model_args: what ``timm.create_model`` needs beyond what timm recorded itself.
    """
    pretrained_cfg = {**dict.fromkeys(SOURCE_ONLY), "tag": tag, "license": license}
    size = (3, model.image_size, model.image_size)
    hook = model.net.register_state_dict_post_hook(_separate)
    try:
        save_for_hf(
            model.net,
            str(folder),
            model_config={"label_names": list(label_names), "pretrained_cfg": pretrained_cfg},
            model_args=dict(model_args or {}),
            safe_serialization=True,
            data_config={**resolve_model_data_config(model.net), **PREPROCESSING, "input_size": size},
        )
    finally:
        hook.remove()
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)  # safetensors writes for the owner alone


def _separate(_net: Any, weights: dict[str, Tensor], *_: Any) -> None:
    """Give every name a tensor of its own: safetensors refuses those that a network has under several."""
    seen: set[int] = set()
    for name, weight in weights.items():
        storage = weight.untyped_storage().data_ptr()
        if storage in seen:
            weights[name] = weight.clone()
        seen.add(storage)
