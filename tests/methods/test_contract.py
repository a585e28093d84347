"""What every registered method promises, whatever it computes."""

from __future__ import annotations

import copy
import dataclasses
import random

import numpy as np
import pytest
import timm
import torch
from timm.task import TrainingTask
from torch import nn

from egat_hub.core import config
from egat_hub.core.randomness import SampleRandom
from egat_hub.methods import METHODS, Method
from egat_hub.models.train_mode import is_batchnorm
from tests.helpers.methods import CLASSES, FAST, batch, model

AWAKE = {**FAST, "warmup": 0}
"""Short attacks, and every term from the first step on."""
UNCHANGED_BY = {METHODS["irm"]: {"step": 1}, METHODS["dmada"]: {"first": 6}}
"""IRM's environments keep their images from step to step; DMADA draws one ratio for the batch."""


@pytest.fixture(params=list(METHODS))
def cls(request) -> type[Method]:
    return METHODS[request.param]


def make(cls: type[Method], network: nn.Module | None = None, **options) -> Method:
    known = {field.name for field in dataclasses.fields(cls.config_class)}
    fast = {name: value for name, value in AWAKE.items() if name in known}
    return cls(model() if network is None else network, **fast, **options)


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    one, other = ({**result, **result["metrics"], "metrics": torch.zeros(())} for result in (one, other))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_step_gives_a_loss_that_is_the_sum_of_its_terms(cls):
    result = make(cls)(*batch())
    output, loss, metrics = result.pop("output"), result.pop("loss"), result.pop("metrics")
    assert not any(value.requires_grad for value in metrics.values())
    assert output.shape == (6, CLASSES)
    assert result
    assert all(term.shape == () and term.requires_grad for term in result.values())
    assert loss.isfinite()
    torch.testing.assert_close(loss, sum(result.values()))


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_of_any_integer_type_are_accepted(cls, dtype):
    images, labels = batch()
    assert_equal(make(cls)(images, labels.to(dtype)), make(cls)(images, labels))


@pytest.mark.parametrize("freeze_bn", [True, False])
def test_every_parameter_gets_a_finite_gradient(cls, freeze_bn):
    method = make(cls, model(freeze_bn=freeze_bn))
    method(*batch())["loss"].backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_step_is_reproducible_from_seed_step_and_index(cls):
    results = [make(cls, seed=3)(*batch(), index=torch.arange(6) + 9, step=4) for _ in range(2)]
    assert_equal(*results)


def test_draws_depend_on_seed_step_and_index(cls, monkeypatch):
    drawn: list[torch.Tensor] = []

    def record(name: str) -> None:
        draw = getattr(SampleRandom, name)

        def recorded(*arguments):
            drawn.append(draw(*arguments))
            return drawn[-1].clone()

        monkeypatch.setattr(SampleRandom, name, recorded)

    for name in ("uniform", "normal", "beta"):
        record(name)

    def draws(seed: int = 0, step: int = 0, first: int = 0) -> list[torch.Tensor]:
        drawn.clear()
        make(cls, seed=seed)(*batch(), step=step, index=torch.arange(6) + first)
        return list(drawn)

    base = draws()
    assert all(torch.equal(one, other) for one, other in zip(base, draws(), strict=True))
    for change in ({"seed": 1}, {"step": 1}, {"first": 6}):
        if change != UNCHANGED_BY.get(cls):
            assert not any(torch.equal(one, two) for one, two in zip(base, draws(**change), strict=True))


def test_default_step_and_index_count_up(cls):
    method = make(cls)
    for step in range(2):
        assert_equal(method(*batch()), make(cls)(*batch(), step=step, index=torch.arange(6)))


def test_global_random_states_are_left_alone(cls):
    method = make(cls)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]  # noqa: NPY002
    method(*batch())["loss"].backward()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert np.array_equal(before[2], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("freeze_bn", [True, False])
def test_modes_and_frozen_statistics_are_unchanged(cls, freeze_bn, training):
    method = make(cls, model(freeze_bn=freeze_bn)).train(training)
    method.model.net.layer2.eval()  # a mode of its own must survive too
    modes = {name: module.training for name, module in method.named_modules()}
    statistics = {
        name: (module.running_mean.clone(), module.running_var.clone(), module.num_batches_tracked.clone())
        for name, module in method.named_modules()
        if is_batchnorm(module)
    }
    method(*batch())
    assert {name: module.training for name, module in method.named_modules()} == modes
    for name, before in statistics.items():
        module = method.get_submodule(name)
        after = module.running_mean, module.running_var, module.num_batches_tracked
        assert all(map(torch.equal, before, after)) is not module.training, name


def test_it_is_a_training_task_of_timm(cls):
    method = make(cls)
    assert isinstance(method, TrainingTask)
    assert method.get_trainable_module() is method.model
    evaluated = method.get_eval_model().eval()(batch()[0])
    assert evaluated.shape == (6, CLASSES)


def test_it_takes_a_bare_timm_network():
    net = timm.create_model("test_resnet", num_classes=CLASSES)
    for cls in METHODS.values():
        assert make(cls, net).model.net is net


def test_distributing_only_a_submodule_raises(cls):
    with pytest.raises(RuntimeError, match=r"accelerator\.prepare\(method\)"):
        make(cls).prepare_distributed()


def test_config_survives_a_file(cls):
    changed = make(cls).config
    assert config.from_dict(type(changed), config.to_dict(changed)) == changed
    assert_equal(cls(model(), changed)(*batch()), make(cls)(*batch()))


def test_state_dict_restores_the_method(cls):
    method, other = make(cls), make(cls)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.mul_(1.1)
    other.load_state_dict(method.state_dict())
    assert_equal(method(*batch(), step=0), other(*batch(), step=0))


def test_a_copy_is_equal_and_independent(cls):
    method = make(cls)
    clone = copy.deepcopy(method)
    assert_equal(method(*batch()), clone(*batch()))
    before = clone(*batch(), step=0)["output"]
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.zero_()
    assert torch.equal(clone(*batch(), step=0)["output"], before)


@pytest.mark.parametrize("labels", [[2, 2, 2, 2], [1], [0, 1]], ids=["one class", "one image", "two images"])
def test_small_batches_are_accepted(cls, labels):
    images = batch(len(labels))[0]
    method = make(cls)
    result = method(images, torch.tensor(labels))
    result["loss"].backward()
    assert result["loss"].isfinite()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    "name", [name for name in METHODS if hasattr(METHODS[name].config_class(), "mixup_alpha")]
)
def test_a_beta_distribution_has_a_positive_parameter(name):
    with pytest.raises(ValueError, match="Expected mixup_alpha above 0, got 0"):
        METHODS[name].config_class(mixup_alpha=0)
