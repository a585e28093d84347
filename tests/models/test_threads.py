"""Several threads use one model at once, and leave it as it was."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
from torch import nn

from egat_hub.attacks import PGD
from egat_hub.explanations import GradCAM, InputGradient
from egat_hub.models import TimmModel
from egat_hub.models.train_mode import evaluating, frozen

SMALL = {"img_size": 64, "depth": 2, "embed_dim": 24, "num_heads": 2}
NETWORKS = {
    "test_resnet": {},
    "test_vit": {"img_size": 64, "depth": 2},
    "cait_xxs24_224": SMALL,
    "xcit_nano_12_p16_224": SMALL,
    "convit_tiny": SMALL | {"depth": 3, "local_up_to_layer": 1},
    "tnt_s_patch16_224": {"img_size": 64, "depth": 2, "embed_dim": 24},
    "crossvit_9_240": {"img_size": 72, "embed_dim": (16, 32), "depth": [[1, 1, 0]] * 2},
    "coat_lite_tiny": {"img_size": 64, "embed_dims": (16,) * 4},
    "pit_ti_224": {"img_size": 96},
    "levit_128s": {"img_size": 64},
    "volo_d1_224": {"img_size": 64},
    "efficientvim_m1": {},
}
THREADS, CALLS = 4, 24


def make(name: str) -> TimmModel:
    torch.manual_seed(0)
    options = NETWORKS[name]
    net = timm.create_model(name, num_classes=5, **options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return TimmModel(net, image_size=options.get("img_size", 64)).eval()


def answers(model: TimmModel, calls: int, threads: int) -> list[list[torch.Tensor]]:
    """Logits and maps of images that differ from call to call; every third call is a plain forward."""
    size = model.image_size

    def answer(call: int) -> list[torch.Tensor]:
        images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(call))
        with torch.no_grad(), evaluating(model):
            return [model(images)] if call % 3 == 0 else [model(images), GradCAM(relu=False)(model, images)]

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(answer, range(calls)))


def state(model: nn.Module) -> list[tuple[str, bool, set[str], int]]:
    return [
        (name, m.training, set(m.__dict__), len(m._forward_hooks) + len(m._forward_pre_hooks))
        for name, m in model.named_modules()
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_four_threads_give_the_same_logits(name):
    model = make(name)
    before, size = state(model), model.image_size
    found = answers(model, CALLS, THREADS)
    assert state(model) == before
    expected = answers(make(name), CALLS, 1)
    for some, others in zip(found, expected, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(some, others, strict=True))
    images = torch.rand(1, 3, size, size)
    logits = model(images)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(images), logits)


@pytest.mark.parametrize("name", ["test_vit", "cait_xxs24_224", "tnt_s_patch16_224", "pit_ti_224"])
def test_explained_models_are_exported(name):
    model = make(name)
    images = torch.rand(1, 3, model.image_size, model.image_size)
    GradCAM()(model, images)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(model, (images,)).module()(images), model(images))


@pytest.mark.parametrize("name", ["test_resnet", "levit_128s"])
def test_model_in_train_mode_gives_the_same_logits_from_threads(name):
    expected, model = answers(make(name), CALLS, 1), make(name).train()
    found = answers(model, CALLS, THREADS)
    assert all(module.training for module in model.modules())
    for some, others in zip(found, expected, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def test_attacks_and_pixel_gradients_run_in_threads():
    model, images = make("test_resnet").train(), torch.rand(4, 3, 64, 64)
    labels = torch.arange(4)

    def work(call: int) -> torch.Tensor:
        if call % 2:
            return PGD(steps=2)(model, images, labels, 0.03)
        with evaluating(model):
            return InputGradient()(model, images).detach()

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(work, range(16)))
    assert all(torch.equal(one, found[index % 2]) for index, one in enumerate(found))
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("switch", "name"), [(evaluating, "training"), (frozen, "requires_grad")])
def test_context_ends_with_its_last_thread(switch, name):
    net = nn.Linear(2, 2)
    item = net if name == "training" else net.weight
    first, second = switch(net), switch(net)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not getattr(item, name)
    second.__exit__(None, None, None)
    assert getattr(item, name)
