"""Folded networks answer as they are, and leave nothing behind."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, ScaledStdConv2d, convert_sync_batchnorm
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from egat_hub.attacks import PGD
from egat_hub.methods import EGAT, METHODS, AdversarialMethod
from egat_hub.models.folding import find_pairs, folded
from egat_hub.models.train_mode import evaluating, is_batchnorm
from tests.helpers.methods import FAST, batch, model

SIZE = 64
IMAGES = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))

NETWORKS = {
    "test_resnet": (15, 15),
    "test_efficientnet": (13, 13),
    "mobilenetv2_035": (52, 52),
    "densenet121": (1 + 4, 1 + 4 * 2 + 1 + 1),
    "resnetv2_18": (8, 8 * 2 + 1),
    "test_convnext": (0, 0),
}
"""Norms that are folded, of all there are: of pre-activation blocks, those between two convolutions."""

OPTIONS = {"densenet121": {"block_config": (2, 2), "growth_rate": 8}}


def response(network: nn.Module, images: torch.Tensor = IMAGES) -> tuple[torch.Tensor, torch.Tensor]:
    images = images.to(next(network.parameters()).dtype).requires_grad_()
    logits = network(images)
    return logits.detach(), torch.autograd.grad(logits.logsumexp(1).sum(), images)[0]


def assert_folds_to_itself(network: nn.Module, pairs, rtol: float = 1e-4) -> None:
    with evaluating(network):
        expected = response(network)
    with folded(network, pairs):
        found = response(network)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= rtol * other.abs().max()


class Net(nn.Sequential):
    """A convolution, a norm that may be folded into it, and a head."""

    def __init__(self, conv: nn.Module, norm: nn.Module | None = None) -> None:
        super().__init__(conv, norm or nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
        self(IMAGES)


class UsedTwice(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv, norm, *rest = self
        y = conv(x)
        y = norm(y) + y
        for layer in rest:
            y = layer(y)
        return y


class CalledTwice(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv, norm, *rest = self
        y = norm(conv(x)) * conv(x.flip(3))
        for layer in rest:
            y = layer(y)
        return y


class WeightUsedElsewhere(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * self[0].weight.mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_folding_keeps_the_logits(name):
    net = model(name, size=SIZE, freeze_bn=False, **OPTIONS.get(name, {}))
    pairs = find_pairs(net, IMAGES)
    assert (len(pairs), sum(map(is_batchnorm, net.modules()))) == NETWORKS[name]
    assert_folds_to_itself(net, pairs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_follow_training_and_casts(dtype):
    net = model(size=SIZE, freeze_bn=False)
    pairs = find_pairs(net, IMAGES)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(IMAGES).logsumexp(1).sum().backward()
    optimizer.step()
    assert_folds_to_itself(net, pairs)
    if dtype == torch.float64:
        assert_folds_to_itself(net.to(dtype), pairs, rtol=1e-12)
    else:
        with folded(net.to(dtype), pairs):
            assert response(net)[0].dtype == dtype


@pytest.mark.parametrize(
    ("own", "autocast", "kept"),
    [
        (torch.float32, torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.float16, torch.float32),
        (torch.float64, torch.bfloat16, torch.float64),
    ],
)
def test_weights_are_cast_once_under_autocast(own, autocast, kept):
    net = model(size=SIZE, freeze_bn=False).to(own)
    (first, *_) = pairs = find_pairs(net, IMAGES)
    conv = net.get_submodule(first.layer)
    with torch.autocast("cpu", autocast), folded(net, pairs):
        assert conv.weight.dtype == conv.bias.dtype == kept
    assert conv.weight.dtype == own
    if kept == autocast:
        with torch.autocast("cpu", autocast), folded(net, pairs):
            once = net(IMAGES)
        with folded(net, pairs), torch.autocast("cpu", autocast):
            assert torch.equal(net(IMAGES), once)


@pytest.mark.parametrize("convert", [convert_sync_batchnorm, nn.SyncBatchNorm.convert_sync_batchnorm])
def test_synchronised_norms_fold_too(convert):
    plain = Net(nn.Conv2d(3, 4, 3), BatchNormAct2d(4) if convert is convert_sync_batchnorm else None)
    pairs = find_pairs(plain, IMAGES)
    assert pairs
    net = convert(copy.deepcopy(plain))
    assert isinstance(net[1], nn.SyncBatchNorm)
    with folded(plain, pairs), folded(net, pairs):
        assert torch.equal(response(net)[0], response(plain)[0])


@pytest.mark.parametrize(
    "net",
    [
        UsedTwice(nn.Conv2d(3, 4, 3)),
        CalledTwice(nn.Conv2d(3, 4, 3)),
        WeightUsedElsewhere(nn.Conv2d(3, 4, 3)),
        Net(ScaledStdConv2d(3, 4, 3)),
        Net(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        Net(nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3))),
        Net(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))),
    ],
    ids=[
        "used twice",
        "called twice",
        "weight used",
        "standardised",
        "no statistics",
        "spectral",
        "weight norm",
    ],
)
def test_unsupported_pairs_are_not_folded(net):
    assert find_pairs(net, IMAGES) == ()


@pytest.mark.parametrize(
    "net", [Net(nn.Conv2d(3, 4, 3, bias=False)), Net(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False))]
)
def test_bias_and_affine_parameters_are_optional(net):
    pairs = find_pairs(net, IMAGES)
    assert pairs == (("0", "1"),)
    assert_folds_to_itself(net, pairs)


class Copies(TorchDispatchMode):
    """Counts the copies that are made inside."""

    def __init__(self):
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.found += function in (torch.ops.aten.clone.default, torch.ops.aten.copy_.default)
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("act", [nn.ReLU6, nn.Hardswish, nn.SiLU, nn.Mish])
def test_activations_copy_nothing_while_the_network_is_attacked(act):
    net = timm.create_model("test_efficientnet", num_classes=4, act_layer=act)
    pairs = find_pairs(net, IMAGES)
    acts = [module for module in net.modules() if isinstance(module, act) and module.inplace]
    assert acts
    with folded(net, pairs):
        in_place = [module for module in acts if module.inplace]
        with Copies() as copies:
            fresh = response(net)
        for module in acts:
            module.inplace = True
        with Copies() as more:
            torch.testing.assert_close(response(net), fresh, rtol=0, atol=0)
        for module in set(acts) - set(in_place):
            module.inplace = False
    assert more.found - copies.found == len(acts) - len(in_place) > 0
    assert all(module.inplace for module in acts)


def test_pair_that_fails_is_skipped():
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), UsedTwice(nn.Conv2d(3, 4, 3)))
    assert find_pairs(net, IMAGES) == (("0", "1"),)


def test_search_does_not_call_hooks():
    net, seen = Net(nn.Conv2d(3, 4, 3)), []

    def note(*args):
        seen.append(args)

    net[0].register_forward_hook(note)
    net[0].register_forward_pre_hook(note)
    net[1].register_full_backward_hook(note)
    net[1].register_full_backward_pre_hook(note)
    assert find_pairs(net, IMAGES) == (("0", "1"),)
    assert not seen


def test_layer_with_spectral_norm_is_skipped():
    normed = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3))
    net = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), normed, nn.BatchNorm2d(4), nn.Flatten())
    assert find_pairs(net, IMAGES) == (("0", "1"),)


def test_a_network_that_cannot_be_copied_is_not_folded():
    net = Net(nn.Conv2d(3, 4, 3))
    net.lock = threading.Lock()
    assert find_pairs(net, IMAGES) == ()


def test_hooks_are_called_on_the_original_network():
    net = Net(nn.Conv2d(3, 4, 3))
    pairs, seen = find_pairs(net, IMAGES), []
    net[1].register_forward_hook(lambda module, args, output: seen.append((args[0], output)))
    with folded(net, pairs):
        net(IMAGES)
    ((before, after),) = seen
    expected = nn.functional.batch_norm(before, net[1].running_mean, net[1].running_var)
    torch.testing.assert_close(after, expected)


def test_network_is_unchanged_after_folding():
    net = model(size=SIZE, freeze_bn=False)
    net.net.layer2.eval()
    random = torch.get_rng_state()

    def state():
        modes = [module.training for module in net.modules()]
        attributes = [list(vars(module)) for module in net.modules()]
        return modes, attributes, [id(p) for p in net.parameters()], [p.grad for p in net.parameters()]

    before, values = state(), copy.deepcopy(net.state_dict())
    pairs = find_pairs(net, IMAGES)
    with folded(net, pairs), folded(net, pairs):
        response(net)
    with pytest.raises(RuntimeError, match="size of tensor"), folded(net, pairs):
        net(IMAGES.repeat(1, 2, 1, 1))
    assert state() == before
    assert list(values) == list(net.state_dict())
    assert all(torch.equal(value, values[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_attacked_images_differ_only_at_gradients_near_zero():
    net, (images, labels) = model(size=SIZE), batch(size=SIZE)
    with folded(net, find_pairs(net, images)):
        found = PGD()(net, images, labels, 0.02)
    expected = PGD()(net, images, labels, 0.02)
    assert ((found - expected).abs() > 1e-6).float().mean() < 1e-2


@pytest.mark.parametrize("name", [name for name in METHODS if issubclass(METHODS[name], AdversarialMethod)])
def test_methods_attack_the_folded_network_and_no_trace_is_saved(name, monkeypatch):
    images = batch(size=SIZE)[0]
    method = METHODS[name](model(size=SIZE), **FAST)
    assert len(method.foldable) == NETWORKS["test_resnet"][0]
    assert not any("foldable" in key for key in method.state_dict())
    for clone in (copy.deepcopy(method), pickle.loads(pickle.dumps(method))):
        assert clone.foldable == method.foldable
    forwards = []
    attack = nn.functional.batch_norm
    monkeypatch.setattr(nn.functional, "batch_norm", lambda *a, **k: forwards.append(1) or attack(*a, **k))
    with method.attacking():
        method.model(images)
    assert not forwards


def test_networks_without_folding_are_attacked_unchanged():
    method = EGAT(timm.create_model("test_vit", num_classes=4), **FAST)
    assert method.foldable == ()
