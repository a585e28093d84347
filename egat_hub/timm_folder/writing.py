"""A network as timm's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timm.data import resolve_model_data_config
from timm.models import save_for_hf

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
    save_for_hf(
        backbone.net,
        str(folder),
        model_config={"label_names": list(label_names), "pretrained_cfg": pretrained_cfg},
        model_args=dict(model_args or {}),
        safe_serialization=True,
        data_config={**resolve_model_data_config(backbone.net), **PREPROCESSING, "input_size": size},
    )
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)  # safetensors writes for the owner alone
