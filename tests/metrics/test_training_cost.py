"""What a step costs: images through the trunk, backward passes, and nothing kept afterwards."""

from __future__ import annotations

import gc

import pytest
import torch

from egat_hub.methods import METHODS
from egat_hub.metrics.training_cost import count_passes
from egat_hub.models import TimmModel
from tests.helpers.methods import SIZE, batch, forwards, model

BATCH, STEPS = 6, 10
FORWARDS = {"erm": 1, "pgd_at": STEPS + 1, "trades": 1 + STEPS + 2, "egat": STEPS + 3}
BACKWARDS = {"erm": 1, "pgd_at": STEPS + 1, "trades": STEPS + 2, "egat": STEPS + 3}
CALLS = {
    "joint": {"erm": 1, "pgd_at": STEPS + 1, "trades": 1 + STEPS + 1, "egat": STEPS + 1},
    "separate": FORWARDS,
}


def make(name: str, net: TimmModel, **options):
    if name != "erm":
        options["attack_steps"] = STEPS
    return METHODS[name](net, **options)


@pytest.mark.parametrize("views", ["joint", "separate"])
@pytest.mark.parametrize("name", FORWARDS)
def test_forwards_and_backwards_in_units_of_a_batch(name, views):
    net, back = model(), []
    trunk = (
        net.net.layer1
    )  # hooks on a module inside the trunk see gradients to inputs and to parameters alike
    trunk.register_full_backward_hook(lambda module, inputs, outputs: back.append(len(outputs[0])))
    method = make(name, net, views=views)
    with forwards(net) as seen:
        loss = method(*batch(BATCH))["loss"]
    assert sum(map(len, seen)) / BATCH == FORWARDS[name]
    assert len(seen) == CALLS[views][name]
    loss.backward()
    assert sum(back) / BATCH == BACKWARDS[name]


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext", "test_efficientnet", "test_vit"])
def test_explanations_add_no_forward_whatever_the_head(architecture):
    net = model(architecture, **({"img_size": SIZE} if architecture == "test_vit" else {}))
    with forwards(net) as seen:
        make("egat", net)(*batch(BATCH))
    assert sum(map(len, seen)) / BATCH == FORWARDS["egat"]


@pytest.mark.parametrize("name", list(METHODS))
def test_training_steps_do_not_leak_tensors(name):
    method = METHODS[name](model())
    optimizer = torch.optim.SGD(method.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        method(*batch())["loss"].backward()
        optimizer.step()

    def tensors():
        return sum(type(item) in (torch.Tensor, torch.nn.Parameter) for item in gc.get_objects())

    step()
    gc.collect()
    gc.disable()  # what only the collector frees counts as left behind: on a GPU it would pile up
    try:
        before = tensors()
        for _ in range(3):
            step()
        assert tensors() == before
    finally:
        gc.enable()


UNITS = [
    ("erm", 3),
    ("pgd_at", 23),
    ("trades", 27),
    ("egat", 29),
    ("igr", 6),
    ("rrr", 6),
    ("ign", 3 * (3 * 2 + 2 * 4) + 19 * 2 + 10 * 4 + 3),
    ("sgt", 8),
    ("dre", 6),
    ("sgdrop", 3),
    ("irm", 3),
    ("dmada", 9),
    ("align", 6 + 4),
]


def test_every_method_has_an_expected_cost():
    assert sorted(name for name, _ in UNITS) == sorted(METHODS)


@pytest.mark.parametrize("freeze_bn", [False, True])
@pytest.mark.parametrize(("name", "units"), UNITS)
def test_a_step_costs_what_its_passes_cost(name, units, freeze_bn):
    method = METHODS[name](model(freeze_bn=freeze_bn))
    assert count_passes(method, *batch(BATCH)).units == pytest.approx(units)


@pytest.mark.parametrize("name", ["egat", "dre", "align"])
@pytest.mark.parametrize("views", ["joint", "separate"])
def test_head_gradients_add_no_pass(name, views):
    found = count_passes(METHODS[name](model("test_convnext"), views=views), *batch(BATCH))
    assert found.through_backward == 0
    assert found.units == pytest.approx(dict(UNITS)[name])


@pytest.mark.parametrize(
    ("explanation", "units"),
    [
        ("grad_cam", 29),
        ("finer_cam", 29),
        ("input_gradient", 29 + 3 * 6),
        ("smooth_grad", 29 + 3 * 2 * 6),
        ("integrated_gradients", 29 + 3 * 3 * 6),
    ],
)
def test_training_cost_of_explanations(explanation, units):
    method = METHODS["egat"](model(), explanation=explanation)
    assert count_passes(method, *batch(BATCH)).units == pytest.approx(units)
