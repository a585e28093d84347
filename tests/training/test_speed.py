"""Log lines say how fast training is and what memory it takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator

from egat_hub.training import log as speed
from egat_hub.training.log import Speed
from tests.helpers.training import fit, log_of, method


def test_every_log_line_has_speed_and_memory(tmp_path):
    fit(method(), tmp_path, resources={"log_every": 2})
    lines, validations = log_of(tmp_path)
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(line["images_per_second"] > 0 for line in lines)
    assert all(line["peak_memory_mib"] > 50 for line in lines)  # what PyTorch alone takes
    assert not any("images_per_second" in line for line in validations)


def test_speed_is_measured_since_the_last_log_line_without_validation(monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 12.0, 50.0, 51.0])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    ours = Speed(Accelerator())
    for _ in range(2):
        ours.start()
        ours.stop(8)
    assert ours.values()["images_per_second"] == 4.0
    ours.start()
    ours.stop(8)
    assert ours.values()["images_per_second"] == 8.0


def test_waiting_for_images_is_a_share_of_the_time(monkeypatch):
    clock = iter([0.0, 1.0, 4.0, 4.0, 5.0, 8.0, 8.0, 8.0, 9.0])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    ours = Speed(Accelerator())
    for _ in range(2):
        ours.start()
        ours.loaded()
        ours.stop(8)
    assert ours.values()["loading"] == 0.25
    ours.start()
    ours.loaded()
    ours.stop(8)
    assert ours.values()["loading"] == 0


def test_memory_of_cuda_is_what_pytorch_allocated(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**20)
    assert speed._peak(SimpleNamespace(type="cuda")) == pytest.approx(3.0)
    assert speed._peak(SimpleNamespace(type="mps")) == 0
