"""A small network, a small generated domain, and training runs that take a second."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import GroupNorm

from egat_hub.data import DataConfig, Domain, EvaluationView, TrainingView, open_dataset
from egat_hub.methods import METHODS, Method
from egat_hub.models import TimmModel
from egat_hub.models.train_mode import is_batchnorm
from egat_hub.training import Resources, TrainConfig, Trained, train

SIZE = 32
CLASSES = 5
MEASURED = ("seconds", "images_per_second", "loading", "peak_memory_mib")
"""What a log says of the machine."""
FAST = {"attack_steps": 2, "epsilon": 0.02, "points": 2, "warmup": 2, "lambda_irm": 1.0}


def network(
    name: str = "test_resnet", *, groupnorm: bool = False, seed: int = 0, **options: Any
) -> TimmModel:
    """A ResNet with maps of 4 x 4 positions and a head whose logits spread."""
    if groupnorm:
        options["norm_layer"] = functools.partial(GroupNorm, num_groups=4)
    if name == "test_resnet":
        options.setdefault("output_stride", 8)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = timm.create_model(name, num_classes=CLASSES, **options)
        with torch.no_grad():
            net.get_classifier().weight.normal_(std=0.2)
            for module in filter(is_batchnorm, net.modules()):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
        return TimmModel(net, image_size=SIZE)


@functools.cache
def domain(size: int = 60) -> Domain:
    """Generated images with masks: 60 % to train on, 20 % to validate, 20 % to test."""
    return open_dataset(DataConfig(synthetic_size=size, image_size=SIZE))["meadow"]


def view(split: str = "test", size: int = 60) -> EvaluationView:
    return EvaluationView(domain(size), split, image_size=SIZE)


def method(name: str = "erm", model: TimmModel | None = None, **overrides: Any) -> Method:
    """A training method with a short attack, path and warm-up, where it has one."""
    known = {field.name for field in dataclasses.fields(METHODS[name].config_class)}
    fast = {key: value for key, value in FAST.items() if key in known}
    return METHODS[name](model or network(), seed=1, **{**fast, **overrides})


def fit(
    method: Method, folder: Path, *, resources: dict[str, Any] | None = None, seed: int = 3, **config: Any
) -> Trained:
    """Train for 6 steps of 8 images, by default."""
    settings = {"steps": 6, "batch_size": 8, "lr": 1e-3, "validate_every": 3, **config}
    return train(
        method,
        TrainingView(domain(), image_size=SIZE, seed=seed),
        view("val"),
        TrainConfig(**settings),
        folder,
        seed=seed,
        resources=Resources(**{"log_every": 1, "workers": 0, **(resources or {})}),
    )


def log_of(folder: Path) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Lines of training steps and of validations."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [li for li in lines if "loss" in li], [li for li in lines if "val_clean_accuracy" in li]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are bit-identical."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
