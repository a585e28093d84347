"""What a backbone must do to work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.attacks import PGD
from egat_hub.backbone import Backbone
from egat_hub.explanations import GradCAM
from egat_hub.hub import from_pretrained, save_pretrained
from egat_hub.methods import EGAT
from egat_hub.modes import evaluating

EPSILON = 0.01


def check_forward(backbone: Backbone, images: Tensor, _options: dict[str, Any]) -> None:
    """Logits are finite, and those of the plain network on normalised images."""
    with evaluating(backbone), torch.no_grad():
        found = backbone(images)
        expected = backbone.net((images - backbone.mean) / backbone.std)
    _require(bool(found.isfinite().all()), "logits are not finite")
    largest = expected.abs().max().item()
    difference = (found - expected).abs().max().item()
    _require(difference <= 1e-4 * largest, f"logits differ by {difference:.2g} of {largest:.2g}")


def check_grad_cam(backbone: Backbone, images: Tensor, _options: dict[str, Any]) -> None:
    """Maps are finite and not constant, and of the size of the grid."""
    with evaluating(backbone):
        maps = GradCAM(relu=False, normalize="max")(backbone, images).detach()
        with torch.no_grad():
            grid = backbone.grid(backbone.features(images))
    _require(bool(maps.isfinite().all()), "maps are not finite")
    _require(maps.shape == (len(images), *grid.shape[2:]), f"maps {tuple(maps.shape)} on {tuple(grid.shape)}")
    _require(grid.shape[1] == backbone.channels, f"{grid.shape[1]} channels, not {backbone.channels}")
    _require(bool((maps.flatten(1).std(1) > 1e-6).all()), "maps are constant")


def check_attack(backbone: Backbone, images: Tensor, _options: dict[str, Any]) -> None:
    """A step of PGD moves pixels, and none further than epsilon.

    Labels are the least likely classes: a random network can be so sure of one that its loss is flat there.
    """
    with evaluating(backbone), torch.no_grad():
        labels = backbone(images).argmin(1)
    moved = (PGD(steps=1, start="clean")(backbone, images, labels, EPSILON) - images).abs().amax((1, 2, 3))
    _require(bool((moved > 0).all()), "the attack does not move")
    _require(bool((moved <= EPSILON + 1e-6).all()), f"the attack moves by {moved.max().item():.4f}")


def check_training(backbone: Backbone, images: Tensor, _options: dict[str, Any]) -> None:
    """The loss of EGAT is finite, and trains every parameter that the network itself trains."""
    labels = torch.arange(len(images))
    F.cross_entropy(backbone.train()(images), labels).backward()
    used = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    backbone.zero_grad()
    method = EGAT(backbone, attack_steps=1).train()
    loss = method(images, labels)["loss"]
    loss.backward()
    _require(bool(loss.isfinite()), "the loss is not finite")
    for name in used:
        gradient = backbone.get_parameter(name).grad
        _require(gradient is not None and bool(gradient.isfinite().all()), f"no finite gradient of {name}")
    backbone.zero_grad()


def check_saving(backbone: Backbone, images: Tensor, options: dict[str, Any]) -> None:
    """A saved model gives the same logits."""
    names = [f"class {number}" for number in range(backbone.num_classes)]
    with tempfile.TemporaryDirectory() as folder, evaluating(backbone), torch.no_grad():
        save_pretrained(backbone, f"{folder}/model", label_names=names, metadata={"model_args": options})
        found = from_pretrained(f"{folder}/model")(images)
        difference = (found - backbone(images)).abs().max().item()
    _require(difference <= 1e-4 * found.abs().max().item(), f"saved logits differ by {difference:.2g}")


CHECKS: dict[str, Callable[[Backbone, Tensor, dict[str, Any]], None]] = {
    "forward": check_forward,
    "PGD": check_attack,
    "Grad-CAM": check_grad_cam,
    "EGAT": check_training,
    "saving": check_saving,
}


def _require(fits: bool, otherwise: str) -> None:
    if not fits:
        raise AssertionError(otherwise)
