"""Runs that stop between two steps go on as if they had not; nothing but seed and step matters."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from torch.nn import functional as F

from egat_hub.methods import METHODS
from egat_hub.training import log
from tests.helpers.training import MEASURED, domain, fit, log_of, method, network, same


def weights(trained):
    return trained.model.state_dict()


def figures(folder):
    """The log without time and memory."""
    return [
        {key: value for key, value in json.loads(line).items() if key not in MEASURED}
        for line in (folder / "log.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize("name", METHODS)
def test_a_run_in_two_parts_equals_one(tmp_path, name):
    whole = fit(method(name, network(drop_rate=0.3)), tmp_path / "whole", ema_decay=0.9, validate_every=2)
    for steps, weights_seed in ((4, 0), (6, 9)):
        torch.manual_seed(steps)
        ours = method(name, network(drop_rate=0.3, seed=weights_seed))
        parts = fit(ours, tmp_path / "parts", steps=steps, ema_decay=0.9, validate_every=2)
    assert figures(tmp_path / "parts") == figures(tmp_path / "whole")
    assert (parts.best_step, parts.val_accuracy) == (whole.best_step, whole.val_accuracy)
    assert same(weights(whole), weights(parts))
    assert list((tmp_path / "parts" / "checkpoints").iterdir()) == [
        tmp_path / "parts/checkpoints/step_00000006"
    ]


def test_finished_run_is_loaded(tmp_path):
    first = fit(method(), tmp_path)
    log = (tmp_path / "log.jsonl").read_text()
    again = fit(method(model=network(seed=9)), tmp_path)
    assert same(weights(first), weights(again))
    assert (again.best_step, again.val_accuracy) == (first.best_step, first.val_accuracy)
    assert (tmp_path / "log.jsonl").read_text() == log


def test_lines_after_the_checkpoint_are_dropped(tmp_path):
    fit(method(), tmp_path / "whole")
    fit(method(), tmp_path / "first", steps=3)
    for cut in ('{"step": 5, "lo', '{"step": 6}\n{"st', "[]", '{"step"}\n'):
        shutil.rmtree(tmp_path / "parts", ignore_errors=True)
        shutil.copytree(tmp_path / "first", tmp_path / "parts")
        with (tmp_path / "parts" / "log.jsonl").open("a") as file:
            file.write('{"step": 4, "loss": 1.0, "cls": 1.0, "seconds": 1.0}\n' + cut)
        fit(method(), tmp_path / "parts")
        assert figures(tmp_path / "parts") == figures(tmp_path / "whole"), cut


def test_log_restarts_without_a_checkpoint(tmp_path):
    fit(method(), tmp_path / "whole")
    (tmp_path / "log.jsonl").write_text('{"step": 0, "val_clean_accuracy": 1.0}\n{"step": 1, "loss": 2.0}\n')
    fit(method(), tmp_path)
    assert figures(tmp_path) == figures(tmp_path / "whole")


def test_dropout_depends_on_seed_and_step_alone(tmp_path, monkeypatch):
    masks: list[torch.Tensor] = []
    dropout = F.dropout

    def recorded(images: torch.Tensor, p: float, training: bool) -> torch.Tensor:
        if training:
            masks.append(dropout(torch.ones_like(images), p))
        return images * masks[-1] if training else images

    monkeypatch.setattr(F, "dropout", recorded)
    runs = {}
    for name, state, seed in (("first", 0, 3), ("again", 1, 3), ("other", 0, 4)):
        torch.manual_seed(state)
        masks.clear()
        fit(method(model=network(drop_rate=0.5)), tmp_path / name, seed=seed)
        runs[name] = torch.stack(masks)
    assert torch.equal(runs["first"], runs["again"])
    for step, mask in enumerate(runs["first"]):
        assert not (mask == runs["first"][step + 1 :]).flatten(1).all(1).any()
        assert not torch.equal(mask, runs["other"][step])


def test_resource_settings_do_not_change_the_result(tmp_path):
    plain = fit(method(), tmp_path / "plain")
    resources = {"workers": 2, "log_every": 4, "checkpoint_every": 2}
    other = fit(method(), tmp_path / "other", resources=resources)
    assert same(weights(plain), weights(other))
    assert log_of(tmp_path / "plain")[1] == log_of(tmp_path / "other")[1]


def test_checkpoint_of_another_network_raises(tmp_path):
    fit(method(), tmp_path, steps=1)
    other = method(model=network("test_efficientnet"))
    with pytest.raises(
        ValueError, match=r"of test_resnet with 5 classes, .* and this run trains test_efficientnet with"
    ):
        fit(other, tmp_path)
    assert len(log_of(tmp_path)[0]) == 1


def test_checkpoint_of_another_configuration_raises(tmp_path):
    fit(method(), tmp_path, steps=1)
    with pytest.raises(ValueError, match="Choose another output folder"):
        fit(method(), tmp_path, lr=5e-3)
    with pytest.raises(ValueError, match=r"this run trains .* EGAT"):
        fit(method("egat"), tmp_path)
    assert fit(method(), tmp_path, steps=2).best_step >= 0


def test_checkpoint_of_other_classes_raises(tmp_path, monkeypatch):
    fit(method(), tmp_path, steps=1)
    monkeypatch.setattr(domain(), "classes", ("renamed", *domain().classes[1:]))
    with pytest.raises(ValueError, match=r"has the classes .*; the data set now has renamed, .*Restore"):
        fit(method(), tmp_path)


def test_changed_images_raise_a_warning_on_resume(tmp_path, monkeypatch):
    fit(method(), tmp_path, steps=1)
    monkeypatch.setattr(domain(), "keys", (*domain().keys, "new.jpg"))
    with pytest.warns(UserWarning, match="The images have changed since the checkpoint"):
        fit(method(), tmp_path, steps=2)


def test_runs_in_one_process_may_differ_in_precision(tmp_path):
    fit(method(), tmp_path / "bf16", steps=1, mixed_precision="bf16")
    after = fit(method(), tmp_path / "after", mixed_precision="no")
    assert same(weights(after), weights(fit(method(), tmp_path / "again", mixed_precision="no")))


def test_a_tracker_that_is_not_installed_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "get_available_trackers", list)
    with pytest.raises(ImportError, match="'wandb' is not installed: pip install wandb"):
        fit(method(), tmp_path, resources={"trackers": ("wandb",)})
    with pytest.raises(ValueError, match="No tracker 'wandbb'"):
        fit(method(), tmp_path, resources={"trackers": ("wandbb",)})
    assert not (tmp_path / "log.jsonl").exists()
