"""The model that is measured is the one passed, whatever it wraps; data come in several forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from egat_hub.core.metric import is_correct
from egat_hub.evaluation import EvaluationConfig, evaluate
from tests.helpers.training import CLASSES, SIZE, method, network

ACCURACY = EvaluationConfig(epsilons=())
ATTACK = EvaluationConfig(epsilons=(0.01,), attack_options={"steps": 2}, checks=0)


def tensors(model: nn.Module, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return images, model(images).argmax(1)


def pairs(model: nn.Module) -> list[tuple[torch.Tensor, int]]:
    images, labels = tensors(model)
    return list(zip(images, labels.tolist(), strict=True))


def values(rows) -> dict[str, float]:
    return {row.metric: row.value for row in rows}


class Constant(nn.Module):
    """Holds a network and answers with class 0."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.model = self.backbone = inner

    def forward(self, images):
        return nn.functional.one_hot(torch.zeros(len(images), dtype=torch.long), CLASSES) + 0 * self.model(
            images
        )


def test_wrapper_module_is_evaluated_itself():
    model = network().eval()
    data = [(image, 1) for image, _ in pairs(model)]
    assert values(evaluate(Constant(model), data, ACCURACY)) == {"clean_accuracy": 0.0}
    assert (
        values(evaluate(Constant(model.net), [(image, 0) for image, _ in data], ACCURACY))["clean_accuracy"]
        == 100
    )


def test_method_is_evaluated_through_its_network():
    trained = method("pgd_at")
    data = pairs(trained.model.eval())
    assert values(evaluate(trained, data, ACCURACY))["clean_accuracy"] == 100


@pytest.mark.parametrize("wrapped", [True, False])
def test_forward_hooks_on_a_timm_network_run(wrapped):
    model = network().eval()
    data = pairs(model)
    model.net.register_forward_hook(lambda module, images, logits: logits.roll(1, 1))
    found = values(evaluate(model if wrapped else model.net, data, EvaluationConfig(epsilons=())))
    assert found == {"clean_accuracy": 0.0}


def test_forward_hook_added_after_an_explanation_runs():
    model = network().eval()
    data = pairs(model)
    assert "comprehensiveness" in values(evaluate(model, data, ACCURACY))
    model.net.register_forward_hook(lambda module, images, logits: logits.roll(1, 1))
    with pytest.warns(UserWarning, match="only its accuracy is measured"):
        assert values(evaluate(model, data, ACCURACY)) == {"clean_accuracy": 0.0}


def test_a_module_with_features_of_its_own_is_no_timm_network():
    class Own(nn.Module):
        def forward_features(self, images):
            return images

        def forward(self, images):
            return images.mean((2, 3))

    data = [(torch.tensor([0.1, 0.9, 0.5]).view(3, 1, 1).expand(3, 8, 8), 1)]
    assert values(evaluate(Own(), data, ACCURACY)) == {"clean_accuracy": 100.0}


class Answers(nn.Module):
    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images):
        return self.answer(images.mean((2, 3)))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda logits: (logits, logits), "got a tuple"),
        (lambda logits: {"logits": logits}, "got a dict"),
        (lambda logits: logits[:, 0], r"got torch.float32 of shape \[1\]"),
        (lambda logits: logits[..., None, None], r"of shape \[1, 3, 1, 1\]"),
        (lambda logits: logits.argmax(1), "got torch.int64"),
        (lambda logits: logits.detach(), "have no gradient with respect to the images, which attacks need"),
    ],
)
def test_outputs_that_are_not_logits_raise(answer, message):
    data = [(torch.rand(3, 8, 8), 1)]
    with pytest.raises((TypeError, ValueError), match=message):
        evaluate(Answers(answer), data, ATTACK)


def test_logits_without_gradient_are_enough_for_accuracy():
    data = [(torch.rand(3, 8, 8), 1)]
    assert values(evaluate(Answers(lambda logits: logits.detach()), data, ACCURACY)).keys() == {
        "clean_accuracy"
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_never_correct(value):
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [value, 0.0], [0.0, value], [value, value]])
    assert is_correct(logits, torch.tensor([0, 0, 0, 1, 0])).tolist() == [True, False, False, False, False]
    broken = Answers(lambda logits: torch.full_like(logits, value) + 0 * logits)
    assert values(evaluate(broken, [(torch.rand(3, 8, 8), 0)], ACCURACY)) == {"clean_accuracy": 0.0}


def forms(model):
    images, labels = tensors(model)
    items = list(zip(images, labels, strict=True))
    return {
        "tensors": (images, labels),
        "tensor data set": TensorDataset(images, labels),
        "numpy labels": [(image, np.int64(label)) for image, label in items],
        "mappings": [{"image": image, "label": int(label)} for image, label in items],
    }


@pytest.mark.parametrize("form", ["tensors", "tensor data set", "numpy labels", "mappings"])
def test_supported_data_types(form):
    model = network().eval()
    assert evaluate(model, forms(model)[form], ACCURACY) == evaluate(model, pairs(model), ACCURACY)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([torch.rand(3, 8, 8)], "Expected items .* got a Tensor"),
        ([{"pixel_values": torch.rand(3, 8, 8), "labels": 1}], "Expected items .* got a dict"),
        ([(np.zeros((8, 8, 3)), 1)], "an image that is a ndarray"),
        ([(torch.zeros(3, 8, 8, dtype=torch.uint8), 1)], r"that is a torch.uint8 \[3, 8, 8\]"),
        ([(torch.rand(2, 3, 8, 8), 1)], r"that is a torch.float32 \[2, 3, 8, 8\]"),
        (DataLoader([(torch.rand(3, 8, 8), 1)]), "Pass its .dataset"),
    ],
)
def test_items_of_unsupported_type_raise(data, message):
    with pytest.raises(TypeError, match=message):
        evaluate(network(), data, ACCURACY)


def test_inference_mode_does_not_change_results():
    model = network().eval()
    config = EvaluationConfig(epsilons=(0.01,), attack_options={"steps": 2}, checks=3)
    expected = evaluate(model, pairs(model), config)
    with torch.inference_mode():
        assert evaluate(model, pairs(model), config) == expected


@pytest.mark.parametrize("epsilons", [0.5, np.float32(0.5), np.array([0.5]), [0.5], (np.float64(0.5),)])
def test_epsilon_may_be_any_number_type(epsilons):
    assert EvaluationConfig(epsilons=epsilons).epsilons == (0.5,)
