"""Names in timm's registry: ``timm.create_model("resnet50.egat_vlcs", pretrained=True)``."""

from __future__ import annotations

import copy
import functools
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import timm
from timm.models import DefaultCfg, PretrainedCfg, model_entrypoint, register_model

from egat_hub.hub.timm_files import SOURCES
from egat_hub.hub.zoo import ModelInfo, find_models


def register_timm_models(models: Iterable[ModelInfo] | None = None) -> None:
    """Add models to timm's registry as further weights of its networks.

    Models without published weights, and networks that this release of timm does not have, are left out.

    Args:
        models: which models; default: those that ship with the package.
    """
    for info in find_models() if models is None else models:
        if info.location != "not published" and timm.is_model(info.architecture):
            _register(info)


def _register(info: ModelInfo) -> None:
    """Add a tag to the network's ``default_cfgs`` in its module, and register the network again.

    timm reads the weights of a network from there, when the network is registered.
    """
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
    default.cfgs[tag] = _pretrained_cfg(info, tag)
    default.is_pretrained = True
    module.default_cfgs = {**cfgs, info.architecture: default}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Overwriting")
        register_model(_with_arguments(entrypoint, tag, info.model_args) if info.model_args else entrypoint)


def _pretrained_cfg(info: ModelInfo, tag: str) -> PretrainedCfg:
    cfg: dict[str, Any] = {
        **{key: value for key, value in info.pretrained_cfg.items() if key not in SOURCES},
        "architecture": info.architecture,
        "tag": tag,
        "num_classes": len(info.label_names),
        "label_names": list(info.label_names),
    }
    if info.weights:
        return PretrainedCfg(**cfg, file=str(info.weights))
    return PretrainedCfg(**cfg, hf_hub_id=f"{info.repo_id}@{info.revision}")


def _with_arguments(entrypoint: Callable[..., Any], tag: str, arguments: Any) -> Callable[..., Any]:
    """The entrypoint with the arguments of a model where its tag is asked for."""

    @functools.wraps(entrypoint)
    def build(pretrained: bool = False, **options: Any) -> Any:
        added = arguments if options.get("pretrained_cfg") == tag else {}
        return entrypoint(pretrained, **{**added, **options})

    return build
