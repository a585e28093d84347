"""Published models under names of timm's: ``timm.create_model("resnet50.egat_vlcs", pretrained=True)``."""

from __future__ import annotations

import copy
import sys
import warnings
from collections import deque
from collections.abc import Iterable

import timm
from timm.models import DefaultCfg, PretrainedCfg, model_entrypoint, register_model

from egat_hub.zoo.model import ZooModel


def register(models: Iterable[ZooModel]) -> None:
    """Add models to timm's registry, as further weights of the networks that it has.

    timm reads the weights of a network from ``default_cfgs`` of the network's own module when it is
    registered; so each model is added there, behind timm's own, and the network is registered again. What
    timm lists and loads otherwise stays as it is. Models that timm cannot build from a name alone, or whose
    network this release of timm does not have, are left out.
    """
    for model in models:
        if model.in_timm and timm.is_model(model.architecture):
            _add(model)


def _add(model: ZooModel) -> None:
    function = model_entrypoint(model.architecture)
    module = sys.modules[function.__module__]
    cfgs = getattr(module, "default_cfgs", {})
    known = cfgs.get(model.architecture)
    default = copy.deepcopy(known) if isinstance(known, DefaultCfg) else _untagged(known)
    tag = model.name.partition(".")[2]
    if tag not in default.cfgs:
        default.tags.append(tag)
    default.cfgs[tag] = _pretrained_cfg(model, tag)
    default.is_pretrained = True
    module.default_cfgs = {**cfgs, model.architecture: default}  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Overwriting")
        register_model(function)


def _untagged(cfg: dict | None) -> DefaultCfg:
    """What timm makes of a network that has one set of weights, or none."""
    return DefaultCfg(tags=deque([""]), cfgs={"": PretrainedCfg(**(cfg or {}))})


def _pretrained_cfg(model: ZooModel, tag: str) -> PretrainedCfg:
    told = {**model.pretrained_cfg, "architecture": model.architecture, "tag": tag}
    told |= {"num_classes": model.num_classes, "hf_hub_id": model.source}
    return PretrainedCfg(**told)
