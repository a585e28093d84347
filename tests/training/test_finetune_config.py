"""Head warm-up, a frozen backbone, and learning rates that fall from layer to layer."""

from __future__ import annotations

import re

import pytest
import torch

from egat_hub.core.results import Row
from egat_hub.data import TrainingView
from egat_hub.methods import METHODS
from egat_hub.training import FinetuneConfig, Resources, TrainConfig, train
from egat_hub.training import loop as training
from egat_hub.training.config import create_optimizer
from tests.helpers.training import SIZE, domain, method, network, same, view

HEAD = {"net.fc.weight", "net.fc.bias"}


def fit(ours, folder, finetune, **config):
    settings = {"steps": 5, "batch_size": 8, "lr": 1e-2, "validate_every": 1, "selection": "last", **config}
    return train(
        ours,
        TrainingView(domain(), image_size=SIZE, seed=3),
        view("val"),
        TrainConfig(**settings),
        folder,
        seed=3,
        resources=Resources(checkpoint_every=1),
        finetune=finetune,
    )


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.fixture
def states(monkeypatch):
    """The network's weights and statistics at every validation."""
    states = []

    def validate(model, *_, **__):
        states.append(state_of(model))
        return [Row("m", "", "", "", "", "val", "clean_accuracy", 50.0, n=1, seed=0)]

    monkeypatch.setattr(training, "evaluate", validate)
    return states


@pytest.mark.parametrize("name", METHODS)
def test_frozen_backbone_does_not_change(tmp_path, name, states):
    ours = method(name, network(drop_rate=0.1))
    before = state_of(ours.model)
    fit(ours, tmp_path, FinetuneConfig(freeze_backbone=True), steps=2)
    assert changed(before, state_of(ours.model)) == HEAD
    assert all(parameter.requires_grad for parameter in ours.model.parameters())
    assert not ours.model.freeze_bn


@pytest.mark.parametrize(
    "config",
    [{}, {"optimizer": "adamw", "weight_decay": 0.1}, {"optimizer": "momentum"}, {"accumulation": 2}],
    ids=lambda config: " ".join(map(str, config.values())) or "default",
)
def test_warm_up_trains_the_head_only(tmp_path, states, config):
    fit(method(), tmp_path, FinetuneConfig(head_warmup=3), **config)
    start, *later = states
    assert [changed(start, state) == HEAD for state in later] == [True, True, True, False, False]
    assert changed(later[2], later[3]) > {"net.conv1.0.weight", "net.bn1.running_mean"} | HEAD


def test_head_warm_up_equals_a_frozen_backbone(tmp_path, states):
    fit(method("egat"), tmp_path / "warm", FinetuneConfig(head_warmup=2), steps=3)
    warm = states[:3]
    states.clear()
    fit(method("egat"), tmp_path / "frozen", FinetuneConfig(freeze_backbone=True), steps=2)
    for first, second in zip(warm, states, strict=True):
        for name in first:
            torch.testing.assert_close(first[name], second[name], atol=1e-6, rtol=1e-5)


def test_resume_during_warm_up_equals_an_uninterrupted_run(tmp_path, monkeypatch):
    finetune = FinetuneConfig(head_warmup=3, layer_decay=0.5)
    whole = fit(method("egat"), tmp_path / "whole", finetune, steps=4)
    step, done = training._step, iter(range(2))
    with monkeypatch.context() as patched:
        patched.setattr(training, "_step", lambda *given: (next(done), step(*given))[1])
        with pytest.raises(StopIteration):
            fit(method("egat"), tmp_path / "parts", finetune, steps=4)
    parts = fit(method("egat", network(seed=9)), tmp_path / "parts", finetune, steps=4)
    assert same(whole.model.state_dict(), parts.model.state_dict())


def test_checkpoint_of_other_finetune_settings_raises(tmp_path):
    fit(method(), tmp_path, FinetuneConfig(head_warmup=1), steps=2)
    with pytest.raises(ValueError, match="Choose another output folder"):
        fit(method(), tmp_path, FinetuneConfig())


def test_layer_decay_scales_learning_rates_by_block():
    ours = method(model=network("test_vit", img_size=SIZE))
    rates = {
        parameter: group["lr"]
        for group in create_optimizer(ours, TrainConfig(lr=0.1), FinetuneConfig(layer_decay=0.5)).param_groups
        for parameter in group["params"]
    }
    found = {name: rates[parameter] for name, parameter in ours.model.net.named_parameters()}
    depth = len(ours.model.net.blocks)
    assert found["head.weight"] == pytest.approx(0.1)
    for name, rate in found.items():
        block = re.match(r"blocks\.(\d+)", name)
        layer = int(block[1]) + 1 if block else 0 if re.match("cls|pos|patch", name) else None
        if layer is not None:
            assert rate / found["patch_embed.proj.weight"] == pytest.approx(2**layer), name
    assert found[f"blocks.{depth - 1}.mlp.fc1.weight"] < found["head.weight"]


def test_learning_rate_scale_of_a_method_is_kept():
    ours = method("align")
    groups = create_optimizer(ours, TrainConfig(lr=0.1), FinetuneConfig(layer_decay=0.5)).param_groups
    rates = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    assert {rates[parameter] for parameter in ours.masker.parameters()} == {0.2}
    assert rates[ours.model.net.fc.weight] == 0.1
    assert rates[next(ours.model.net.parameters())] < 0.1


@pytest.mark.parametrize(
    ("settings", "pattern"),
    [
        ({"layer_decay": 0.0}, r"layer_decay in \(0, 1\], got 0.0"),
        ({"layer_decay": 1.5}, "got 1.5"),
        ({"head_warmup": -1}, "at least 0 steps, got -1"),
        ({"freeze_backbone": True, "head_warmup": 3}, "freeze_backbone cannot be combined"),
        ({"freeze_backbone": True, "layer_decay": 0.5}, "freeze_backbone cannot be combined"),
    ],
)
def test_invalid_settings_raise(settings, pattern):
    with pytest.raises(ValueError, match=pattern):
        FinetuneConfig(**settings)


def test_warm_up_as_long_as_training_raises(tmp_path):
    with pytest.raises(ValueError, match="shorter than training, got 5 of 5 steps"):
        fit(method(), tmp_path, FinetuneConfig(head_warmup=5))
