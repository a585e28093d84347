"""The runtime recipe counts passes rightly and prints its ratios."""

from __future__ import annotations

import pytest
import runtime
import torch

from egat_hub.methods import METHODS
from egat_hub.metrics.training_cost import count_passes
from egat_hub.models import create_model


@pytest.fixture(autouse=True)
def denormals():
    yield
    torch.set_flush_denormal(False)


def test_separate_forwards_cost_three_more_passes():
    net = create_model("test_resnet", num_classes=5, image_size=64, pretrained=False).train()
    method = METHODS["egat"](net)
    method.explanation = runtime.SeparateForwardCAM()
    assert count_passes(method, torch.rand(4, 3, 64, 64), torch.arange(4)).units == pytest.approx(38)


def test_the_recipe_prints_every_method_and_both_ratios(capsys):
    runtime.runtime(model="test_resnet", image_size=32, batch_size=2, rounds=1, device="cpu")
    printed = capsys.readouterr().out
    assert all(f"| {name} " in printed for name in METHODS)
    assert "Expected: cost x " in printed
    assert "EGAT / TRADES relative to " in printed
    assert "EGAT / EGAT with separate CAMs: " in printed
    assert "faithfulness at 5 shares, one by one / in batches of 2: " in printed
