"""What a config file may tell ``timm.create_model``: nothing that reaches other files or fills memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from timm.models import PretrainedCfg

MAX_IMAGE_SIZE = 2048
"""Largest side of the images that a model from a file may be made for, in pixels."""

MAX_CLASSES = 100_000
MAX_INTEGER = 20_000
MAX_FLOAT = 1e6
MAX_TEXT = 200
MAX_VALUES = 200

LOADING_ARGUMENTS = {"cache_dir", "checkpoint_path"}
BUILDING_ARGUMENTS = {"device", "dtype", "exportable", "kwargs_filter", "model_cfg", "no_jit", "scriptable"}
SOURCES = {"custom_load", "file", "hf_hub_filename", "hf_hub_id", "source", "state_dict", "url"}
"""Fields of timm's ``PretrainedCfg`` that say where weights are loaded from."""


def check_model_args(values: Any) -> dict[str, Any]:
    """Arguments of a network, as ``config.json`` holds them, without ``num_classes``, which it states itself.

    Raises:
        ValueError: an argument that loads other files or chooses what is built, numbers or texts out of
            bounds, or not a mapping.
    """
    if not isinstance(values, dict):
        raise ValueError(f"model_args must be an object, got a {type(values).__name__}")
    foreign = sorted(
        name
        for name in values
        if name in LOADING_ARGUMENTS | BUILDING_ARGUMENTS
        or name.startswith(("pretrained", "feature", "out_"))
    )
    if foreign:
        raise ValueError(f"model_args may not hold {', '.join(foreign)}")
    if any(not name.isidentifier() for name in values):
        raise ValueError("the names in model_args must be those of arguments")
    if "img_size" in values:
        _check_sizes(values["img_size"], "img_size")
    values = {name: value for name, value in values.items() if name != "num_classes"}
    _check_value(values, "model_args")
    if values.get("in_chans", 3) != 3:
        raise ValueError(f"in_chans must be 3, got {values['in_chans']}")
    return values


def check_pretrained_cfg(values: Any) -> dict[str, Any]:
    """timm's ``pretrained_cfg``, as ``config.json`` holds it.

    Raises:
        ValueError: a field that timm does not know, that names other weights, or with a value that images
            cannot be prepared by.
    """
    if not isinstance(values, dict):
        raise ValueError(f"pretrained_cfg must be an object, got a {type(values).__name__}")
    unknown = sorted(set(values) - {field.name for field in fields(PretrainedCfg)})
    if unknown:
        raise ValueError(f"pretrained_cfg may not hold {', '.join(unknown)[:MAX_TEXT]}")
    foreign = sorted(name for name in SOURCES & set(values) if values[name])
    if foreign:
        raise ValueError(f"pretrained_cfg may not hold {', '.join(foreign)}, which name other weights")
    for name, fits in CHECKS.items():
        if name in values and not fits(values[name]):
            raise ValueError(f"{name} in pretrained_cfg cannot be {str(values[name])[:MAX_TEXT]}")
    return {name: value for name, value in values.items() if name not in SOURCES}


def _check_value(value: Any, name: str, depth: int = 4) -> None:
    if isinstance(value, (dict, list)):
        if depth == 0 or len(value) > MAX_VALUES:
            raise ValueError(f"{name} is too large")
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_value(item, f"{name}.{key}", depth - 1)
    elif isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise ValueError(f"{name} is too long")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ValueError(f"{name} is {value}, more than {MAX_INTEGER}")
    elif isinstance(value, float) and abs(value) > MAX_FLOAT:
        raise ValueError(f"{name} is {value}, more than {MAX_FLOAT}")


def _check_sizes(value: Any, name: str) -> None:
    sizes = value if isinstance(value, list) else [value]
    if not all(type(size) is int and 1 <= size <= MAX_IMAGE_SIZE for size in sizes):
        raise ValueError(f"{name} must be from 1 to {MAX_IMAGE_SIZE} pixels, got {str(value)[:MAX_TEXT]}")


def _is_input_size(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and value[0] == 3
        and all(type(size) is int and 1 <= size <= MAX_IMAGE_SIZE for size in value[1:])
    )


def _is_optional_input_size(value: Any) -> bool:
    return value is None or _is_input_size(value)


def _is_triple(low: float) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list)
        and len(value) == 3
        and all(type(item) in (int, float) and low <= item <= 1000 for item in value)
    )


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0.5 <= value <= 2


def _is_among(*choices: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in choices


def _is_optional_text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= MAX_TEXT)


CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "input_size": _is_input_size,
    "test_input_size": _is_optional_input_size,
    "min_input_size": _is_optional_input_size,
    "mean": _is_triple(-1000),
    "std": _is_triple(1e-4),
    "crop_pct": _is_share,
    "test_crop_pct": lambda value: value is None or _is_share(value),
    "interpolation": _is_among("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"),
    "crop_mode": _is_among("center", "squash", "border"),
    "fixed_input_size": lambda value: isinstance(value, bool),
    "num_classes": lambda value: type(value) is int and 0 <= value <= MAX_CLASSES,
    "tag": _is_optional_text,
    "license": _is_optional_text,
}
