"""A network as timm's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timm.data import resolve_model_data_config
from timm.models import save_for_hf
from torch import Tensor

from egat_hub.backbone import Backbone
from egat_hub.timm_folder.names import CONFIG, WEIGHTS

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
    backbone: Backbone,
    folder: Path,
    *,
    label_names: Sequence[str],
    tag: str,
    license: str,
    model_args: Mapping[str, Any] | None = None,
) -> None:
    """Write the bare network with its true mean and std, for ``timm.create_model("local-dir:...")``.

    Args:
        backbone: float32 network on the CPU.
        folder: where to write.
        label_names: one name a class.
        tag: timm's tag of the weights, the part of a model's name after the dot.
        license: of the weights.
        model_args: what ``timm.create_model`` needs beyond what timm recorded itself.
    """
    pretrained_cfg = {**dict.fromkeys(SOURCE_ONLY), "tag": tag, "license": license}
    size = (3, backbone.image_size, backbone.image_size)
    hook = backbone.net.register_state_dict_post_hook(_separate)
    try:
        save_for_hf(
            backbone.net,
            str(folder),
            model_config={"label_names": list(label_names), "pretrained_cfg": pretrained_cfg},
            model_args=dict(model_args or {}),
            safe_serialization=True,
            data_config={**resolve_model_data_config(backbone.net), **PREPROCESSING, "input_size": size},
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
