"""timm's ``config.json`` and ``model.safetensors``, checked before memory is allocated, and its registry."""

from __future__ import annotations

import copy
import functools
import json
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import resolve_model_data_config
from timm.models import DefaultCfg, PretrainedCfg, model_entrypoint, register_model, save_for_hf
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from egat_hub.core.files import read_json_object
from egat_hub.core.registry import suggestion
from egat_hub.hub.layout import CONFIG, WEIGHTS
from egat_hub.hub.zoo import ModelInfo, find_models
from egat_hub.models import TimmModel

MAX_IMAGE_SIZE = 2048
MAX_CLASSES = 100_000
MAX_TENSORS = 6000
"""Limit on parameters and buffers of a network; timm's largest ones have about 3000."""

SPARE_NUMBERS = 2**25
"""Limit on numbers in buffers that are not saved, beyond one for each byte of the weights file."""

REFUSED_ARGUMENTS = (
    *("pretrained", "checkpoint_path", "cache_dir", "features", "feature_", "out_"),
    *("device", "dtype", "exportable", "kwargs_filter", "model_cfg", "no_jit", "scriptable"),
)
"""Prefixes of arguments of ``timm.create_model`` that load other files or change what is built."""

SOURCES = {"custom_load", "file", "hf_hub_filename", "hf_hub_id", "source", "state_dict", "url"}
"""Fields of timm's ``PretrainedCfg`` that say where to load weights from; they are ignored."""

SOURCE_ONLY = (
    *("description", "label_descriptions", "label_names"),
    *("notes", "origin_url", "paper_ids", "paper_name"),
)
"""Fields that describe the weights that training started from; they are not saved."""


@dataclass(frozen=True)
class NetworkConfig:
    """Content of ``config.json``: the arguments of ``timm.create_model``."""

    path: Path
    architecture: str
    num_classes: int
    model_args: dict[str, Any]
    pretrained_cfg: dict[str, Any]
    label_names: list[str] | None

    @classmethod
    def read(cls, path: Path) -> NetworkConfig:
        """Read a file; a ValueError names it for an unknown architecture or values out of bounds."""
        content = read_json_object(path)
        architecture = str(content.get("architecture"))[:100]
        if "." in architecture or not timm.is_model(architecture):
            raise ValueError(
                f"{path} names the architecture {architecture!r}, which timm {timm.__version__} does not "
                f"know.{suggestion(architecture, timm.list_models())} Upgrade timm, or import the package "
                "that registers it."
            )
        try:
            num_classes = content.get("num_classes")
            if type(num_classes) is not int or not 1 <= num_classes <= MAX_CLASSES:
                raise ValueError(f"num_classes must be from 1 to {MAX_CLASSES}, got {str(num_classes)[:50]}")
            return cls(
                path,
                architecture,
                num_classes,
                _model_args(content.get("model_args", {})),
                _pretrained_cfg(content.get("pretrained_cfg")),
                content.get("label_names"),
            )
        except (ValueError, TypeError) as error:
            raise _cannot_build(path, error) from error

    def build(self) -> nn.Module:
        """Build the network with random weights, or raise a ValueError."""
        cfg = {**self.pretrained_cfg, "architecture": self.architecture, "label_names": self.label_names}
        try:
            return timm.create_model(
                self.architecture, pretrained_cfg=cfg, num_classes=self.num_classes, **self.model_args
            )
        except Exception as error:  # timm raises errors of any type on arguments that it does not expect
            raise _cannot_build(self.path, error) from error


def _cannot_build(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} does not describe a network that timm {timm.__version__} can build "
        f"({type(error).__name__}: {str(error)[:500]}); save the model again."
    )


def _model_args(values: Any) -> dict[str, Any]:
    values = {name: value for name, value in dict(values).items() if name != "num_classes"}
    refused = sorted(name for name in values if name.startswith(REFUSED_ARGUMENTS))
    if refused:
        raise ValueError(f"model_args may not hold {', '.join(refused)}")
    _check_bounds("model_args", values)
    return values


def _check_bounds(name: str, value: Any, depth: int = 4) -> None:
    if isinstance(value, (dict, list)):
        if depth == 0 or len(value) > 200:
            raise ValueError(f"{name} is too large")
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_bounds(f"{name}.{str(key)[:50]}", item, depth - 1)
    elif isinstance(value, str) and len(value) > 200:
        raise ValueError(f"{name} is too long")
    elif isinstance(value, (int, float)):
        limit = 20_000 if isinstance(value, int) else 1e6
        if abs(value) > limit:
            raise ValueError(f"{name} is {value}, more than {limit:g}")


def _pretrained_cfg(values: Any) -> dict[str, Any]:
    known = {field.name for field in fields(PretrainedCfg)} - SOURCES
    cfg = {name: value for name, value in dict(values).items() if name in known}
    size, crop = cfg.get("input_size"), cfg.get("crop_pct", 1.0)
    if not (isinstance(size, list) and len(size) == 3 and all(1 <= side <= MAX_IMAGE_SIZE for side in size)):
        raise ValueError(f"input_size must have sides from 1 to {MAX_IMAGE_SIZE}, got {str(size)[:50]}")
    if not 0.1 <= crop <= 10:
        raise ValueError(f"crop_pct must be from 0.1 to 10, got {crop}")
    return cfg


def read_network(folder: Path) -> tuple[nn.Module, bool]:
    """Load the network in ``folder`` in float32 on the CPU, and whether half precision was stored.

    It is built on the meta device first, where tensors have no storage, and building stops when it outgrows
    the weights file. Memory is allocated after all shapes are compared.

    Raises:
        ValueError: a config that describes no network, or weights that are incomplete or of another network.
    """
    config, path = NetworkConfig.read(folder / CONFIG), folder / WEIGHTS
    with torch.device("meta"), _limited_size(path.stat().st_size + SPARE_NUMBERS):
        expected = {name: list(tensor.shape) for name, tensor in config.build().state_dict().items()}
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is not a complete safetensors file ({str(error)[:300]}): it was cut off, or is of "
            "another kind. Save or download it again."
        ) from error
    found = {name: list(tensor.shape) for name, tensor in weights.items()}
    differing = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    if differing:
        first = differing[0]
        raise ValueError(
            f"{path} does not hold the weights of the network in {CONFIG}: {len(differing)} tensors differ, "
            f"such as {first[:200]} (shape {found.get(first)}, expected {expected.get(first)}). Use {CONFIG} "
            f"and {WEIGHTS} of the same save."
        )
    net = config.build()
    net.load_state_dict(weights)
    return net, any(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in weights.values())


@contextmanager
def _limited_size(limit: int) -> Iterator[None]:
    """Raise a ValueError as soon as modules built in this thread have too many or too large tensors."""
    thread, used, tensors = threading.get_ident(), 0, 0

    def count(module: nn.Module, name: str, tensor: Any) -> None:
        nonlocal used, tensors
        if tensor is None or threading.get_ident() != thread:
            return
        used, tensors = used + tensor.numel(), tensors + 1
        if tensors > MAX_TENSORS:
            raise ValueError(f"the network has more than {MAX_TENSORS:,} tensors")
        if used > limit:
            raise ValueError(f"the network holds more than the {limit:,} numbers that its weights allow")

    handles = (
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def write_network(
    model: TimmModel,
    folder: Path,
    *,
    label_names: Sequence[str],
    tag: str,
    license: str,
    model_args: Mapping[str, Any] | None = None,
) -> None:
    """Write a bare float32 network on the CPU with its mean and std, for timm.

    ``tag`` is the part of a model's name after the dot, ``model_args`` what timm did not record.
    """
    size = model.image_size
    hook = model.net.register_state_dict_post_hook(_unshare)
    try:
        save_for_hf(
            model.net,
            str(folder),
            model_config={
                "label_names": list(label_names),
                "pretrained_cfg": {**dict.fromkeys(SOURCE_ONLY), "tag": tag, "license": license},
            },
            model_args=dict(model_args or {}),
            safe_serialization=True,
            data_config={**resolve_model_data_config(model.net), "input_size": (3, size, size)},
        )
    finally:
        hook.remove()
    config = json.loads((folder / CONFIG).read_text())
    config["model_args"].pop("num_classes", None)  # transformers passes the top-level field, and only that
    (folder / CONFIG).write_text(json.dumps(config, indent=2))
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)  # safetensors writes for the owner alone


def _unshare(_net: Any, weights: dict[str, Tensor], *_: Any) -> None:
    """Clone tensors that share memory: safetensors refuses them."""
    seen: set[int] = set()
    for name, weight in weights.items():
        storage = weight.untyped_storage().data_ptr()
        if storage in seen:
            weights[name] = weight.clone()
        seen.add(storage)


def register_timm_models(models: Iterable[ModelInfo] | None = None) -> None:
    """Add models, by default those that ship with the package, to timm's registry.

    Models without published weights, and networks that this release of timm does not have, are left out.
    """
    for info in find_models() if models is None else models:
        if info.location != "not published" and timm.is_model(info.architecture):
            _register(info)


def _register(info: ModelInfo) -> None:
    """Add a tag to the network's ``default_cfgs`` in its module, and register the network again."""
    entrypoint = model_entrypoint(info.architecture)
    module: Any = sys.modules[entrypoint.__module__]
    cfgs = getattr(module, "default_cfgs", {})
    known = cfgs.get(info.architecture)
    if isinstance(known, DefaultCfg):
        default = copy.deepcopy(known)
    else:
        default = DefaultCfg(tags=deque([""]), cfgs={"": PretrainedCfg(**(known or {}))})
    tag = info.timm_name.partition(".")[2]
    if tag not in default.cfgs:
        default.tags.append(tag)
    cfg = {key: value for key, value in info.pretrained_cfg.items() if key not in SOURCES}
    cfg |= {"architecture": info.architecture, "tag": tag}
    cfg |= {"num_classes": len(info.label_names), "label_names": list(info.label_names)}
    cfg |= {"file": str(info.weights)} if info.weights else {"hf_hub_id": f"{info.repo_id}@{info.revision}"}
    default.cfgs[tag] = PretrainedCfg(**cfg)
    default.is_pretrained = True
    module.default_cfgs = {**cfgs, info.architecture: default}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Overwriting")
        register_model(_with_arguments(entrypoint, tag, info.model_args) if info.model_args else entrypoint)


def _with_arguments(entrypoint: Callable[..., Any], tag: str, arguments: Any) -> Callable[..., Any]:
    """The entrypoint with the arguments of a model where its tag is asked for."""

    @functools.wraps(entrypoint)
    def build(pretrained: bool = False, **options: Any) -> Any:
        added = arguments if options.get("pretrained_cfg") == tag else {}
        return entrypoint(pretrained, **{**added, **options})

    return build
