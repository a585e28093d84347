"""Every method trains a transformer whose logits come from a class token, attention and all."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from egat_hub.explanations import EXPLANATIONS
from egat_hub.methods import EGAT, METHODS, Method
from egat_hub.models import TimmModel
from tests.helpers.methods import FAST, batch, forwards, model

SIZE = 48


def vit(**options) -> TimmModel:
    return model("test_vit", size=SIZE, img_size=SIZE, depth=2, **options)


def make(name: str, network: TimmModel | None = None, **options) -> Method:
    known = {field.name for field in dataclasses.fields(METHODS[name].config_class)}
    fast = {key: value for key, value in {**FAST, "warmup": 0, "points": 2}.items() if key in known}
    return METHODS[name](network or vit(), **{**fast, **options})


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_repeatable_and_every_parameter_gets_a_finite_gradient(name):
    method = make(name)
    result = method(*batch(size=SIZE), step=0)
    again = make(name)(*batch(size=SIZE), step=0)
    assert torch.equal(result["loss"], again["loss"])
    terms = [value for key, value in result.items() if key not in ("loss", "output", "metrics")]
    torch.testing.assert_close(result["loss"], sum(terms))
    result["loss"].backward()
    for parameter_name, parameter in method.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("explanation", EXPLANATIONS)
@pytest.mark.parametrize("head_grad", [True, False])
def test_egat_guides_its_attention(explanation, head_grad):
    method = make(
        "egat", explanation=explanation, head_grad=head_grad, lambda_cls=0, lambda_adv=0, lambda_reg=0
    )
    result = method(*batch(size=SIZE), step=0)
    assert set(result) == {"loss", "output", "metrics", "egl"}
    result["loss"].backward()
    assert method.model.net.blocks[0].attn.qkv.weight.grad.any()
    last = method.model.net.blocks[-1].attn.qkv.weight.grad
    assert (last is not None) == (head_grad or explanation not in ("grad_cam", "finer_cam"))


def test_egat_learns():
    method = make("egat", vit(drop_path_rate=0.1))
    optimizer = torch.optim.Adam(method.parameters(), 1e-3)
    losses = []
    for step in range(10):
        losses.append(method(*batch(size=SIZE), step=step)["loss"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_explanations_add_no_forward():
    method = EGAT(vit(), **FAST)
    with forwards(method.model) as seen:
        method(*batch(size=SIZE))
    assert [len(images) for images in seen] == [6, 6, 18]  # two steps of the attack, all versions together
