"""One family, tried."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import timm
import torch

from egat_hub.backbone import Backbone, create_backbone
from egat_hub.experiments.families.checks import CHECKS
from egat_hub.experiments.families.outcome import Outcome
from egat_hub.experiments.families.smallest import CLASSES, smallest
from egat_hub.modes import is_batchnorm

SIZES = (64, 96, 128, 160, 192, 224, 256)
"""Sides of images to try, before the one that a network was made for."""

LIMIT = 120_000_000
"""Networks of more parameters are made of two blocks, where they take such a number."""

IMAGES = 2


def try_family(family: str) -> Outcome:
    """Try the smallest network of a family at the smallest image size that gives a map; nothing is raised."""
    found: dict[str, Any] = {"family": family, "timm": timm.__version__}
    stage = "choosing"
    try:
        name, count = smallest(family)
        found |= {"model": name, "millions": round(count / 1e6, 1)}
        options = {"depth": 2} if count > LIMIT and _takes_depth(name) else {}
        stage = "wrapping"
        backbone, options = _wrap(name, options)
        if "depth" in options:
            found["model"] += f" (depth={options['depth']})"
            found["millions"] = round(sum(p.numel() for p in backbone.parameters()) / 1e6, 1)
        found |= {
            "image_size": backbone.image_size,
            "head_form": backbone.head_form,
            "feature_layer": backbone.feature_layer,
            "grid": _side(backbone),
        }
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(IMAGES, 3, backbone.image_size, backbone.image_size, generator=generator)
        for stage, check in CHECKS.items():
            if backbone.head_form == "independent" and stage in ("Grad-CAM", "EGAT"):
                found.setdefault("result", f"refused: {backbone.obstacle}")
            else:
                check(backbone, images, options)
            gc.collect()
    except Exception as error:  # an outcome like any other
        lines = str(error).strip().splitlines() or [""]
        found["result"] = f"fails: {stage}: {type(error).__name__}: {lines[0][:200]}"
    finally:
        gc.collect()
    return Outcome(**{"result": "works", **found})


def _wrap(name: str, options: dict[str, Any]) -> tuple[Backbone, dict[str, Any]]:
    """The network at the smallest size that it takes and that leaves a map of more than one position."""
    cfg = timm.get_pretrained_cfg(name)
    for size in SIZES:
        given = options | ({"img_size": size} if cfg and cfg.fixed_input_size else {})
        if not _takes(name, size, given):
            continue
        try:
            backbone = _create(name, size, options)
        except Exception:  # the next size, and at last that which it was made for
            continue
        if _side(backbone) > 1:
            return backbone, given
    return _create(name, None, options), options


def _takes_depth(name: str) -> bool:
    try:
        with torch.device("meta"):
            timm.create_model(name, depth=2)
    except TypeError:
        return False
    return True


@torch.no_grad()
def _takes(name: str, size: int, options: dict[str, Any]) -> bool:
    """Whether the network runs at a size, found out without memory."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net: Any = timm.create_model(name, num_classes=CLASSES, **options).eval()
            net(torch.empty(IMAGES, 3, size, size))
    except Exception:
        return False
    return True


def _create(name: str, size: int | None, options: dict[str, Any]) -> Backbone:
    torch.manual_seed(0)
    backbone = create_backbone(name, num_classes=CLASSES, image_size=size, pretrained=False, **options)
    with torch.no_grad():
        for parameter in backbone.parameters():  # logits that are zero tell nothing
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.02)
    _calibrate(backbone)
    return backbone


@torch.no_grad()
def _calibrate(backbone: Backbone) -> None:
    """Let BatchNorm measure a batch: with the statistics of a new network, activations fade away."""
    norms = {norm: norm.momentum for norm in backbone.modules() if is_batchnorm(norm)}
    if norms:
        for norm in norms:
            norm.momentum = 1.0
        images = torch.rand(4 * IMAGES, 3, backbone.image_size, backbone.image_size)
        backbone.train()(images)
        for norm, momentum in norms.items():
            norm.momentum = momentum


@torch.no_grad()
def _side(backbone: Backbone) -> int:
    size = backbone.image_size
    features = backbone.features(torch.zeros(IMAGES, 3, size, size))
    return backbone.grid(features).shape[-1]
