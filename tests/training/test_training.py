"""What a training run logs, chooses and gives back."""

from __future__ import annotations

import copy

import pytest
import torch

from egat_hub.core import distributed as processes
from egat_hub.core.results import Row
from egat_hub.data import TrainingView
from egat_hub.methods import ERM, METHODS
from egat_hub.training import Resources, TrainConfig, train
from egat_hub.training import loop as training
from tests.helpers.training import MEASURED, SIZE, domain, fit, log_of, method, network, same, view


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.fixture
def evaluations(monkeypatch):
    """Validations that find the accuracies in ``evaluations.accuracies``, and keep the weights they saw."""

    class Evaluations:
        accuracies = ()
        states = ()

        def __call__(self, model, dataset, config, **kwargs):
            value = self.accuracies[len(self.states)] if self.accuracies else 50.0
            self.states = (*self.states, state_of(model))
            return [Row("m", "", "", "", "", "val", "clean_accuracy", value, n=1, seed=0)]

    evaluations = Evaluations()
    monkeypatch.setattr(training, "evaluate", evaluations)
    return evaluations


@pytest.mark.parametrize("name", ["erm", "egat"])
def test_log_has_loss_terms_and_every_validation(tmp_path, name):
    fit(method(name), tmp_path, steps=7, validate_every=3, resources={"log_every": 2})
    steps, validations = log_of(tmp_path)
    assert [line["step"] for line in steps] == [2, 4, 6, 7]
    assert [line["step"] for line in validations] == [0, 3, 6, 7]
    for line in steps:
        others = ("step", "loss", *MEASURED)
        parts = [line[key] for key in line if key not in others]
        assert len(parts) == (1 if name == "erm" else 7)
        assert sum(parts) == pytest.approx(line["loss"], rel=1e-5)
    seconds = [line["seconds"] for line in steps]
    assert seconds == sorted(seconds)
    for line in validations:
        assert line.keys() == {"step", "val_clean_accuracy", "val_dead_maps"}
        assert 0 <= line["val_clean_accuracy"] <= 100


def test_best_weights_are_restored_and_ties_take_the_latest(tmp_path, evaluations):
    evaluations.accuracies = (20.0, 50.0, 50.0, 40.0)
    trained = fit(method(), tmp_path, steps=8)
    assert (trained.best_step, trained.val_accuracy) == (6, 50.0)
    assert same(state_of(trained.model), evaluations.states[2])
    assert not same(evaluations.states[2], evaluations.states[3])
    assert not any(m.training for m in trained.model.modules())
    assert trained.seconds > 0


def test_the_untrained_network_can_be_best(tmp_path, evaluations):
    evaluations.accuracies = (20.0, 10.0, 10.0)
    before = state_of(network())
    trained = fit(method(), tmp_path)
    assert trained.best_step == 0
    assert same(state_of(trained.model), before)


def test_averaged_weights_are_validated_and_returned(tmp_path, evaluations):
    fit(method(model=network(groupnorm=True)), tmp_path / "plain", validate_every=1)
    plain, evaluations.states = evaluations.states, ()
    trained = fit(
        method(model=network(groupnorm=True)), tmp_path / "average", validate_every=1, ema_decay=0.7
    )
    average = plain[0]
    for step, (weights, found) in enumerate(zip(plain, evaluations.states, strict=True)):
        decay = 0.7 if step > 2 else 0.0  # timm's average begins after two steps
        average = {name: decay * average[name] + (1 - decay) * weights[name] for name in weights}
        for name, value in average.items():
            torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5)
    assert not same(plain[-1], evaluations.states[-1])
    assert same(state_of(trained.model), evaluations.states[-1])


@pytest.mark.parametrize("accumulation", [2, 4])
def test_micro_batches_do_not_change_the_result(tmp_path, evaluations, accumulation):
    for name, count in (("whole", 1), ("parts", accumulation)):
        model = network(groupnorm=True)
        fit(
            method(model=model),
            tmp_path / name,
            accumulation=count,
            validate_every=1,
            optimizer="sgd",
            lr=0.05,
        )
    whole, parts = evaluations.states[:7], evaluations.states[7:]
    for first, second in zip(whole, parts, strict=True):
        for key in first:
            torch.testing.assert_close(first[key], second[key], atol=1e-5, rtol=0)
    assert (whole[0]["net.fc.weight"] - whole[-1]["net.fc.weight"]).abs().max() > 1e-3
    logs = [[line["loss"] for line in log_of(tmp_path / name)[0]] for name in ("whole", "parts")]
    assert logs[0] == pytest.approx(logs[1], abs=1e-5)


def test_clipping_bounds_the_step(tmp_path):
    def moved(clip_grad):
        model = network(groupnorm=True)
        before = state_of(model)
        fit(
            method(model=model),
            tmp_path / str(clip_grad),
            steps=1,
            optimizer="sgd",
            clip_grad=clip_grad,
        )
        return torch.cat([(value - before[name]).flatten() for name, value in state_of(model).items()])

    free, small, half = moved(None), moved(0.1), moved(0.05)
    assert torch.equal(moved(1e6), free)
    assert free.norm() > 2 * small.norm()
    torch.testing.assert_close(small.norm(), 2 * half.norm(), rtol=1e-3, atol=0)
    assert torch.cosine_similarity(free, small, dim=0) > 0.999


def test_batch_that_cannot_be_divided_raises(tmp_path):
    with pytest.raises(ValueError, match=r"got 8 for 1 x 3\. Use 9"):
        fit(method(), tmp_path, accumulation=3)
    assert not list(tmp_path.rglob("*.jsonl"))


def test_non_finite_loss_raises_with_its_terms(tmp_path):
    class Diverging(ERM):
        def terms(self, batch):
            logits, terms = super().terms(batch)
            return logits, {**terms, "extra": terms["cls"] * (torch.inf if batch.step == 2 else 1)}

    with pytest.raises(
        FloatingPointError, match=r"at step 2: loss inf, cls \d\S*, extra inf\. Lower train\.lr"
    ):
        fit(Diverging(network()), tmp_path, resources={"checkpoint_every": 1})
    assert [line["step"] for line in log_of(tmp_path)[0]] == [1, 2]


@pytest.mark.parametrize("field", ["steps", "batch_size", "accumulation", "validate_every"])
def test_numbers_that_are_too_small_raise(field):
    with pytest.raises(ValueError, match=f"Expected {field} of at least 1, got 0"):
        training.TrainConfig(**{field: 0})


def test_processes_unknown_to_accelerate_raise(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "world_size", lambda: 2)
    with pytest.raises(RuntimeError, match=r"Expected 2 processes in Accelerate.s state, got 1"):
        fit(method(), tmp_path)


def test_method_can_reset_the_optimiser(tmp_path, monkeypatch):
    remembered, run = [], training._step

    def watched(accelerator, prepared, optimizer, *rest):
        remembered.append(bool(optimizer.state))
        return run(accelerator, prepared, optimizer, *rest)

    monkeypatch.setattr(training, "_step", watched)
    fit(METHODS["irm"](network(), warmup=2), tmp_path, steps=4)
    assert remembered == [False, True, False, True]


def test_last_weights_are_kept_on_request(tmp_path):
    best = fit(method(), tmp_path / "best", steps=6, validate_every=2, lr=0.5, optimizer="sgd")
    last = fit(
        method(), tmp_path / "last", steps=6, validate_every=2, lr=0.5, optimizer="sgd", selection="last"
    )
    accuracies = [line["val_clean_accuracy"] for line in log_of(tmp_path / "last")[1]]
    assert max(accuracies) > accuracies[-1]  # or the two rules would agree
    assert (best.best_step, best.val_accuracy) != (6, accuracies[-1])
    assert (last.best_step, last.val_accuracy) == (6, accuracies[-1])


@pytest.mark.parametrize(("steps", "cache_gib", "reads"), [(5, 1.0, 40), (6, 1.0, 40), (6, 0.0, 48)])
def test_cached_images_are_decoded_once(tmp_path, evaluations, steps, cache_gib, reads):
    asked: list[int] = []
    watched = copy.copy(domain())
    read = watched.read
    watched.read = lambda index: asked.append(index) or read(index)
    images = TrainingView(watched, image_size=SIZE, seed=3)
    assert len(images) == 40
    config = TrainConfig(steps=steps, batch_size=8)
    resources = Resources(cache_gib=cache_gib, workers=0)
    train(method(), images, view("val"), config, tmp_path, resources=resources)
    assert len(asked) == reads


def test_image_cache_does_not_change_the_result(tmp_path):
    kept, read = (
        fit(method(), tmp_path / str(gib), steps=9, resources={"cache_gib": gib}).model for gib in (1.0, 0.0)
    )
    assert same(kept.state_dict(), read.state_dict())


def test_channels_last_survives_checkpoints(tmp_path):
    net = network().to(memory_format=torch.channels_last)
    trained = fit(method("erm", net), tmp_path, steps=2, resources={"checkpoint_every": 1})
    kept = fit(method("erm", network()), tmp_path, steps=2)  # from the checkpoint, without a step
    assert same(trained.model.state_dict(), kept.model.state_dict())


def test_run_longer_than_requested_raises(tmp_path):
    fit(method("erm"), tmp_path, steps=3)
    with pytest.raises(ValueError, match="checkpoint at step 3, after the last step 2"):
        fit(method("erm"), tmp_path, steps=2)
