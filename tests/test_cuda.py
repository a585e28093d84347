"""What only a GPU shows: bfloat16, channels-last activations, compiled training, logits that go elsewhere."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch

from egat_hub.attacks import ATTACKS, PGD, TRAINING_ATTACKS
from egat_hub.core.randomness import SampleRandom
from egat_hub.explanations import EXPLANATIONS
from egat_hub.hub.manifest import TOLERANCE, Fingerprint
from egat_hub.methods import METHODS, AdversarialMethod, Batch
from egat_hub.models import TimmModel
from egat_hub.models.folding import folded
from tests.helpers.methods import FAST, batch, model
from tests.helpers.training import fit
from tests.helpers.training import method as training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Convolutions in float32, not TF32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture
def net() -> TimmModel:
    return model().cuda()


@pytest.fixture
def images() -> torch.Tensor:
    return batch()[0].cuda()


@pytest.fixture
def labels() -> torch.Tensor:
    return batch()[1].cuda()


def make(name: str, net: TimmModel, **options):
    known = {field.name for field in dataclasses.fields(METHODS[name].config_class)}
    fast = {key: value for key, value in {**FAST, "warmup": 0}.items() if key in known}
    return METHODS[name](net, **fast, **options).train().cuda()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("freeze_bn", [False, True])
def test_every_method_steps(name, bfloat16, freeze_bn, images, labels):
    method = make(name, model(freeze_bn=freeze_bn).cuda())
    with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16):
        result = method(images, labels, mask=torch.ones_like(images[:, :1]))
    result["loss"].backward()
    assert result["loss"].isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize("name", ["erm", "egat"])
def test_a_step_is_that_of_the_cpu(name, net, images, labels, monkeypatch):
    drawn = SampleRandom(0, tuple(range(6))).uniform(batch()[0], -0.01, 0.01, "attack")
    monkeypatch.setattr(PGD, "begin", lambda self, clean, *others: (clean + drawn.to(clean)).clamp(0, 1))
    here = make(name, net)
    there = copy.deepcopy(here).cpu()
    torch.testing.assert_close(
        here(images, labels)["loss"].cpu(), there(*batch())["loss"], rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("name", TRAINING_ATTACKS)
def test_every_training_attack_steps(name, net, images, labels):
    method = make("pgd_at", net, training_attack=name)
    with torch.autocast("cuda", torch.bfloat16):
        result = method(images, labels, index=torch.arange(6))
    result["loss"].backward()
    assert result["loss"].isfinite()


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "auto_attack"])
def test_every_attack_keeps_its_contract(name, net, images, labels):
    perturbed = ATTACKS[name]()(net.eval(), images, labels, 0.01)
    assert (perturbed - images).abs().max() <= 0.01 + 1e-6
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_maps_are_those_of_the_cpu(name, net, images, labels):
    find = EXPLANATIONS[name]()
    there = copy.deepcopy(net).cpu().eval()
    expected = find(there, *batch())
    if name == "smooth_grad":  # its noise is drawn where it is used
        assert find(net.eval(), images, labels).shape == expected.shape
        return
    torch.testing.assert_close(find(net.eval(), images, labels).cpu(), expected, rtol=1e-2, atol=1e-2)


def test_a_folded_network_gives_the_same_logits(net, images):
    method = make("pgd_at", net)
    assert isinstance(method, AdversarialMethod)
    assert method.foldable
    with torch.no_grad():
        expected = net.eval()(images)
        with folded(net, method.foldable):
            torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-4)


def test_activations_are_channels_last_in_autocast_alone(net, images):
    with torch.no_grad():
        assert net.train().features(images).is_contiguous()
        with torch.autocast("cuda", torch.bfloat16):
            assert net.features(images).is_contiguous(memory_format=torch.channels_last)


def test_compiled_steps_are_those_of_the_network(images, labels):
    one = make("egat", model().cuda())
    other = copy.deepcopy(one)
    expected = one(images, labels, step=0)
    expected["loss"].backward()
    with other.model.compiled():
        found = other(images, labels, step=0)
        found["loss"].backward()
    torch.testing.assert_close(found["loss"], expected["loss"], rtol=1e-3, atol=1e-4)


def losses(method, images, labels, *, captured: bool, bfloat16: bool) -> list[torch.Tensor]:
    """Of four steps between which the weights shrink, the last on fewer images."""
    found = []
    with method.captured() if captured else nullcontext():
        for step, count in enumerate((6, 6, 6, 4)):
            with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16):
                loss = method(images[:count], labels[:count], step=step, index=torch.arange(count))["loss"]
            loss.backward()
            found.append(loss.detach())
            with torch.no_grad():
                for parameter in method.parameters():
                    parameter.mul_(0.95)
    return found


@pytest.fixture
def replayed(monkeypatch) -> list[torch.cuda.CUDAGraph]:
    """Graphs in the order in which they were launched."""
    found, replay = [], torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: found.append(graph) or replay(graph))
    return found


@pytest.mark.parametrize("network", ["test_resnet", "test_vit"])
def test_forward_backward_and_folding_are_launched_as_graphs(network, images, labels, replayed):
    folds = network == "test_resnet"
    method = make("pgd_at", model(network, **({} if folds else {"img_size": 96})).cuda())
    losses(method, images, labels, captured=True, bfloat16=False)
    gradients = 3 * FAST["attack_steps"]  # the last batch is of another shape
    refreshed = 3 * folds  # the first step captures
    assert len(replayed) == 2 * gradients + refreshed
    assert len(set(replayed)) == 2 + folds


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("erm", {}),
        *(
            (name, {"training_attack": attack})
            for name in ("pgd_at", "trades", "egat", "ign")
            for attack in ("pgd", "early_stop", "warm")
        ),
    ],
)
@pytest.mark.parametrize("bfloat16", [False, True])
def test_steps_with_cuda_graphs_are_those_without(name, options, bfloat16, images, labels, replayed):
    methods = [make(name, model(freeze_bn=False).cuda(), **options) for _ in range(2)]
    found, expected = (
        losses(method, images, labels, captured=captured, bfloat16=bfloat16)
        for method, captured in zip(methods, (True, False), strict=True)
    )
    torch.testing.assert_close(found, expected, rtol=2e-2 if bfloat16 else 5e-3, atol=5e-3)
    assert bool(replayed) is (name not in ("erm", "ign"))


def test_cuda_graphs_follow_the_precision(net, images, labels):
    method = make("egat", net)
    with method.captured():
        for bfloat16 in (True, False, True):
            with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16):
                assert method(images, labels)["loss"].isfinite()


def test_cuda_graphs_follow_the_weights(images, labels):
    found = []
    for captured in (True, False):
        method = make("pgd_at", model().cuda())
        with torch.no_grad(), method.captured() if captured else nullcontext():
            for step in range(4):
                random = SampleRandom(0, tuple(range(6)), step)
                found.append(method.perturb(Batch(images, labels, None, random)))
                for parameter in method.parameters():
                    turned = parameter.flip(0)
                    if step == 1:
                        parameter.data = turned  # at another place in memory
                    else:
                        parameter.copy_(turned)
    assert not torch.equal(found[0], found[2])
    torch.testing.assert_close(found[:4], found[4:], rtol=0, atol=1e-6)


def test_a_run_with_cuda_graphs_is_the_run_without(tmp_path):
    plain, fast = (
        fit(
            training("egat"),
            tmp_path / str(graphs),
            selection="last",
            cuda_graphs=graphs,
            resources={"workers": 2},
        )
        for graphs in (False, True)
    )
    for one, other in zip(plain.model.parameters(), fast.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("tf32", [False, True])
def test_fingerprints_of_a_gpu_hold_on_a_cpu(tf32, net):
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32), torch.autocast("cuda", torch.bfloat16):
        found = Fingerprint.of(net)
    assert found.deviation(copy.deepcopy(net).cpu()) < TOLERANCE / 10
