"""With a pooled linear head, a map is the logit spread over the image."""

from __future__ import annotations

import pytest
import torch

from egat_hub.explanations import GradCAM
from tests.explanations.nets import lively, pictures

POOLED = ("test_resnet", "test_efficientnet", "test_nfnet", "test_maxvit", "test_byobnet")
SIGNED = GradCAM(relu=False, normalize="none")


@pytest.fixture(scope="module", params=POOLED)
def model(request):
    model = lively(request.param, **({"img_size": 64} if "maxvit" in request.param else {})).double()
    assert model.head_form == "pooled_linear"
    return model


@pytest.fixture(scope="module")
def view(model):
    with torch.no_grad():
        return model.view(pictures(3, dtype=torch.float64))


@pytest.mark.parametrize("label", range(5))
def test_positions_sum_to_the_logit_without_its_bias(model, view, label):
    maps = SIGNED.of(model, view, torch.full((3,), label))
    expected = view.logits[:, label] - model.classifier.bias[label]
    assert torch.allclose(maps.sum((1, 2)), expected, rtol=1e-12)


def test_combined_logits_have_combined_maps(model, view):
    weights = torch.tensor([[1.0, -0.5, 0, 0, 2], [0, 0, 1, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2]]).double()
    single = torch.stack([SIGNED.of(model, view, torch.full((3,), c)) for c in range(5)], 1)
    combined = SIGNED.of(model, view, weights)
    assert torch.allclose(combined, torch.einsum("bc,bchw->bhw", weights, single), rtol=1e-12)


def test_a_class_index_is_its_one_hot_combination(model, view):
    labels = torch.tensor([4, 0, 2])
    one_hot = torch.eye(5, dtype=torch.float64)[labels]
    assert torch.equal(SIGNED.of(model, view, labels), SIGNED.of(model, view, one_hot))


def test_zero_weights_give_a_zero_map(model, view):
    assert not SIGNED.of(model, view, torch.zeros(3, 5)).any()


def test_bias_does_not_change_the_map(model, view):
    before = SIGNED(model, pictures(3, dtype=torch.float64), torch.tensor([0, 1, 2]))
    with torch.no_grad():
        model.classifier.bias += 7
    after = SIGNED(model, pictures(3, dtype=torch.float64), torch.tensor([0, 1, 2]))
    with torch.no_grad():
        model.classifier.bias -= 7
    assert torch.equal(before, after)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("head_grad", [True, False])
def test_head_dropout_is_left_out(name, head_grad):
    model = lively(name, drop_rate=0.9)
    without = lively(name).train()
    labels = torch.tensor([0, 1])
    explanation = GradCAM(head_grad=head_grad, relu=False, normalize="none")
    assert torch.equal(
        explanation(model.train(), pictures(), labels), explanation(without, pictures(), labels)
    )
