"""Published models under names of timm's: ``timm.create_model("resnet50.egat_vlcs", pretrained=True)``."""

from __future__ import annotations

import copy
import functools
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import timm
from timm.models import DefaultCfg, PretrainedCfg, model_entrypoint, register_model

from egat_hub.hub.zoo import ZooModel, shipped


def register_timm_models() -> None:
    """Add the models that this release knows, as soon as timm is imported.

    Whatever goes wrong is a warning, for nobody who imports timm would expect an error of this package.
    """
    try:
        register(shipped())
    except Exception as error:
        warnings.warn(
            f"timm {timm.__version__} does not take the names of egat_hub's models "
            f"({type(error).__name__}: {str(error)[:200]}); load them with egat_hub.from_pretrained.",
            stacklevel=2,
        )


def register(models: Iterable[ZooModel]) -> None:
    """Add models to timm's registry, as further weights of the networks that it has.

    timm reads the weights of a network from ``default_cfgs`` of the network's own module when it is
    registered; so each model is added there, behind timm's own, and the network is registered again. What
    timm lists and loads otherwise stays as it is. Arguments of a network that its name does not tell are
    added where the name has the model's tag. Left out are models without published weights, and those whose
    network this release of timm does not have.
    """
    for model in models:
        there = model.weights is not None or model.published
        if there and timm.is_model(model.architecture):
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
        register_model(_with_arguments(function, tag, model.model_args))


def _with_arguments(
    function: Callable[..., Any], tag: str, arguments: Mapping[str, Any]
) -> Callable[..., Any]:
    """timm's function of a network, which takes these arguments, too, for weights of that tag."""
    if not arguments:
        return function

    @functools.wraps(function)
    def build(pretrained: bool = False, **options: Any) -> Any:
        known = arguments if options.get("pretrained_cfg") == tag else {}
        return function(pretrained, **{**known, **options})

    return build


def _untagged(cfg: dict | None) -> DefaultCfg:
    """What timm makes of a network that has one set of weights, or none."""
    return DefaultCfg(tags=deque([""]), cfgs={"": PretrainedCfg(**(cfg or {}))})


def _pretrained_cfg(model: ZooModel, tag: str) -> PretrainedCfg:
    told = {**model.pretrained_cfg, "architecture": model.architecture, "tag": tag}
    told |= {"num_classes": model.num_classes}
    told |= {"file": str(model.weights)} if model.weights else {"hf_hub_id": model.published}
    return PretrainedCfg(**told)
