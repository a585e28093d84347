"""Attacks through graphs are those without, shown with graphs that are no graphs, where there is no GPU."""

from __future__ import annotations

from contextlib import nullcontext
from typing import ClassVar

import pytest
import torch

from egat_hub.methods import METHODS
from egat_hub.methods import adversarial as adversarial_methods
from egat_hub.models import cuda_graphs as graphs
from tests.helpers.methods import batch, model


class StandIn:
    """What graphs promise, kernel by kernel."""

    made: ClassVar[list[StandIn]] = []

    def __init__(self, network, foldings, images):
        self.network, self.foldings, self.shape, self.asked = network, dict(foldings), images.shape, []
        self.places = [value.data_ptr() for folding in foldings.values() for value in folding.both.values()]
        self.made.append(self)

    def fits(self, images):
        return images.shape == self.shape

    def refresh(self):
        self.asked.append("refresh")
        for folding in self.foldings.values():
            folding.refresh()

    def gradient(self, images, objective):
        self.asked.append("gradient")
        used = [value.data_ptr() for folding in self.foldings.values() for value in folding.both.values()]
        assert used == self.places, "folded weights have moved"
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            logits = self.network(images)
            return torch.autograd.grad(objective(logits).sum(), images)[0], logits.detach()


@pytest.fixture(autouse=True)
def fake_graphs(monkeypatch):
    monkeypatch.setattr(graphs, "FoldedGraphs", StandIn)
    monkeypatch.setattr(adversarial_methods, "check_capturable", lambda network, device: None)
    monkeypatch.setattr(StandIn, "made", [])


def stepped(method, *, captured, counts=(6, 6, 4), change=lambda method: None):
    """Losses of steps on so many images, between which the weights change."""
    found = []
    with method.captured() if captured else nullcontext():
        for step, count in enumerate(counts):
            images, labels = batch()
            result = method(images[:count], labels[:count], step=step, index=torch.arange(count))
            found.append(result["loss"].detach())
            with torch.no_grad():
                for parameter in method.parameters():
                    parameter.mul_(0.9)
            change(method)
    return found


@pytest.mark.parametrize("attack", ["pgd", "early_stop", "n_fgsm"])
@pytest.mark.parametrize("name", ["erm", "pgd_at", "trades", "egat"])
def test_steps_equal_those_without_graphs(name, attack):
    options = {} if name == "erm" else {"training_attack": attack, "attack_steps": 2}
    found, expected = (
        stepped(METHODS[name](model(freeze_bn=False), **options), captured=captured)
        for captured in (True, False)
    )
    torch.testing.assert_close(found, expected)


def test_weights_are_folded_once_a_step_and_other_shapes_have_no_graphs():
    stepped(METHODS["pgd_at"](model(), attack_steps=2), captured=True)
    (made,) = StandIn.made
    assert made.asked == ["gradient", "gradient", "refresh", "gradient", "gradient", "refresh"]


def test_weights_that_move_in_memory_are_captured_anew():
    def move(method):
        for parameter in method.parameters():
            parameter.data = parameter.detach().clone()

    method, other = (METHODS["pgd_at"](model(), attack_steps=2) for _ in range(2))
    found = stepped(method, captured=True, counts=(6, 6), change=move)
    torch.testing.assert_close(found, stepped(other, captured=False, counts=(6, 6)))
    assert len(StandIn.made) == 2


def test_nested_capture_restores_the_outer_state():
    method = METHODS["pgd_at"](model(), attack_steps=2)
    with method.captured():
        before = method._graphs
        with method.captured():
            assert method._graphs is not before
        assert method._graphs is before
    assert method._graphs is None


def test_networks_that_cannot_be_captured_raise(monkeypatch):
    def fail(*args):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "FoldedGraphs", fail)
    method = METHODS["pgd_at"](model(), attack_steps=2)
    with pytest.raises(RuntimeError, match=r"cannot be captured as CUDA graphs: operation not .*cuda_graphs"):
        stepped(method, captured=True)
    assert method._foldings is None
    stepped(method, captured=False)
