"""Attacks and maps of other packages are timed in turns with ours, and give the same."""

from __future__ import annotations

import peers
import pytest
import torch
from timing import interleaved, ratio

from egat_hub.models import create_model

EPSILON = 0.03


@pytest.fixture(autouse=True)
def denormals():
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def given():
    net = create_model("test_resnet", num_classes=5, image_size=32, pretrained=False).eval()
    return net, torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3])


def test_all_attacks_find_the_same_images(given):
    found = {name: attack() for name, attack in peers.attacks(*given, EPSILON).items()}
    assert {"own, folded", "own, unfolded", "plain loop, channels_last"} <= found.keys()
    for name, images in found.items():
        assert (images - given[1]).abs().max() == pytest.approx(EPSILON, abs=1e-6), name
        assert ((images - found["own, folded"]).abs() > 1e-4).float().mean() < 0.01, name


def test_captum_gives_the_same_maps(given):
    found = peers.maps(*given)
    torch.testing.assert_close(found["captum"](), found["own"]())


def test_the_recipe_prints_a_line_for_each(capsys):
    peers.peers(model="test_resnet", image_size=32, batch_size=2, rounds=1, device="cpu")
    printed = capsys.readouterr().out
    assert f"torch {torch.__version__.split('+')[0]}" in printed
    assert "| plain loop, channels_last |" in printed
    assert "| captum " in printed


def test_each_round_runs_every_job_once():
    calls = []
    times = interleaved({name: lambda name=name: calls.append(name) for name in "abc"}, 4)
    assert [sorted(calls[i : i + 3]) for i in range(0, 15, 3)] == [["a", "b", "c"]] * 5
    assert len({tuple(calls[i : i + 3]) for i in range(0, 15, 3)}) > 1
    assert {name: len(found) for name, found in times.items()} == {"a": 4, "b": 4, "c": 4}
    assert ratio([2.0, 4.0, 9.0], [1.0, 1.0, 3.0]) == "3.000 [2.000..4.000]"
