"""timm's files of a saved network, ``config.json`` and ``model.safetensors``, written and read with care."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from timm.data import resolve_model_data_config
from timm.models import save_for_hf
from torch import nn

from egat_hub.backbone import Backbone
from egat_hub.manifest import read_json_object

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PREPROCESSING = {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "squash"}
LOADING_ARGUMENTS = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}
"""Arguments of ``timm.create_model`` that read other files; a config may not bring them along."""

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


def read_network(folder: Path) -> nn.Module:
    """The network in ``folder`` with its weights, on the CPU.

    Raises:
        ValueError: a config that describes no network, or weights that are cut off, of another kind or of
            another network; the message names the file and the first differences.
    """
    net = _build(folder / CONFIG)
    _check_weights(folder / WEIGHTS, net)
    net.load_state_dict(load_file(folder / WEIGHTS))
    return net


def _build(path: Path) -> nn.Module:
    config = read_json_object(path)
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        close = difflib.get_close_matches(str(architecture), timm.list_models(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"{path} names the architecture {architecture!r}, which timm {timm.__version__} does not know."
            f"{hint} Upgrade timm, or import the package that registers it."
        )
    try:
        pretrained_cfg = {**config["pretrained_cfg"], "label_names": config.get("label_names")}
        model_args = {**config.get("model_args", {}), "num_classes": config["num_classes"]}
        foreign = sorted(LOADING_ARGUMENTS & set(model_args))
        if foreign:
            raise ValueError(f"model_args may not hold {', '.join(foreign)}")
        return timm.create_model(architecture, pretrained=False, pretrained_cfg=pretrained_cfg, **model_args)
    except (TypeError, ValueError, KeyError, AttributeError, AssertionError, RuntimeError) as error:
        raise ValueError(
            f"{path} does not describe a network that timm {timm.__version__} can build "
            f"({type(error).__name__}: {error}); save the model again."
        ) from error


def _check_weights(path: Path, net: nn.Module) -> None:
    """Compare the file's header with the network before a single weight is read."""
    try:
        with safe_open(path, framework="pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            found = {key: (tuple(s.get_shape()), "F" in s.get_dtype()) for key, s in slices.items()}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): it was cut off, or is of another kind. "
            "Save or fetch it again."
        ) from error
    expected = {key: (tuple(t.shape), t.is_floating_point()) for key, t in net.state_dict().items()}
    differing = [
        f"{key} ({_form(*found[key])} in the file, {_form(*form)} in the network)"
        for key, form in expected.items()
        if found.get(key, form) != form
    ]
    differences = [
        *_some("missing", [key for key in expected if key not in found]),
        *_some("unknown", [key for key in found if key not in expected]),
        *_some("different", differing),
    ]
    if differences:
        raise ValueError(
            f"{path} does not hold the weights of the network in {CONFIG}: {'; '.join(differences)}. "
            f"Use {CONFIG} and {WEIGHTS} of one and the same save."
        )


def _form(shape: tuple[int, ...], floating: bool) -> str:
    return f"{'float' if floating else 'integer'} {list(shape)}"


def _some(kind: str, items: list[str], limit: int = 3) -> list[str]:
    rest = f" and {len(items) - limit} more" if len(items) > limit else ""
    return [f"{kind} {', '.join(items[:limit])}{rest}"] if items else []
