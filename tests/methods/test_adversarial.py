"""PGD-AT and TRADES against their objectives written down in another way."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.methods import ERM, PGDAT, TRADES
from egat_hub.methods.losses import kl_divergence
from tests.helpers.methods import batch, forwards, model
from tests.methods import reference

EPSILON, STEPS = 0.02, 3
ATTACK = {"epsilon": EPSILON, "attack_steps": STEPS}
RANDOM = SampleRandom(5, tuple(range(6)), 2)


def trades_example(images):
    """In double precision: where the attack starts, float32 has little but rounding in its gradient."""
    net = model().double()
    clean = reference.logits(net.eval(), images).detach()
    start = images + (0.001 * RANDOM.normal(images, "attack")).clamp(-EPSILON, EPSILON)
    return reference.pgd(net, images, start, lambda z: 6 * reference.kl(clean, z), EPSILON, STEPS)


@pytest.mark.parametrize("freeze_bn", [True, False])
def test_pgd_at_is_cross_entropy_on_attacked_images(freeze_bn):
    images, labels = batch()
    ours, theirs = (model(freeze_bn=freeze_bn).double() for _ in range(2))
    images = images.double()
    attacked = reference.pgd_on_labels(theirs, images, labels, EPSILON, STEPS, RANDOM)
    logits = reference.logits(theirs, attacked)
    result = PGDAT(ours, seed=5, **ATTACK)(images, labels, step=2)
    torch.testing.assert_close(result["output"], logits)
    torch.testing.assert_close(result["loss"], F.cross_entropy(logits, labels))


@pytest.mark.parametrize("freeze_bn", [True, False])
def test_trades_equals_cross_entropy_plus_kl_divergence(freeze_bn):
    images, labels = batch()
    ours, theirs = (model(freeze_bn=freeze_bn).double() for _ in range(2))
    images = images.double()
    clean, moved = reference.logits(theirs, images), reference.logits(theirs, trades_example(images))
    result = TRADES(ours, seed=5, beta=6.0, views="separate", **ATTACK)(images, labels, step=2)
    torch.testing.assert_close(result["cls"], F.cross_entropy(clean, labels))
    torch.testing.assert_close(result["adv_kl"], 6 * reference.kl(clean, moved))
    assert result["adv_kl"] > 1e-3


def test_the_gradient_of_trades_flows_through_both_predictions():
    images, labels = batch()
    images, net = images.double(), model().double()
    attacked, weight = trades_example(images), net.classifier.weight

    def gradient(loss):
        return torch.autograd.grad(loss, weight)[0]

    clean = reference.logits(net, images)
    both = gradient(reference.kl(clean, reference.logits(net, attacked)))
    one_sided = gradient(reference.kl(clean.detach(), reference.logits(net, attacked)))
    ours = gradient(TRADES(net, seed=5, beta=1.0, **ATTACK)(images, labels, step=2)["adv_kl"])
    torch.testing.assert_close(ours, both)
    assert (ours - one_sided).norm() > 0.01 * ours.norm()


def test_trades_kl_is_zero_at_epsilon_0():
    result = TRADES(model(), epsilon=0.0)(*batch())
    assert result["adv_kl"] == 0
    assert result["cls"] == result["loss"]


def test_trades_without_beta_is_erm():
    net = model(freeze_bn=False)
    with forwards(net) as seen:
        trades = TRADES(net, beta=0.0)(*batch())
    assert len(seen) == 1
    erm = ERM(model(freeze_bn=False))(*batch())
    assert torch.equal(trades["loss"], erm["loss"])
    assert torch.equal(trades["output"], erm["output"])


@pytest.mark.parametrize("method", [PGDAT, TRADES])
def test_epsilon_grows_while_warming_up(method):
    images, labels = batch()
    net = model()
    trained = method(net, epsilon=0.04, epsilon_warmup=4, attack_steps=2)
    for step, share in ((0, 0.25), (1, 0.5), (3, 1.0), (9, 1.0)):
        with forwards(net) as seen:
            trained(images, labels, step=step)
        moved = (seen[-1] * net.std + net.mean)[-len(images) :] - images
        torch.testing.assert_close(moved.abs().max().item(), 0.04 * share, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_kl_divergence_equals_torch(scale):
    generator = torch.Generator().manual_seed(0)
    logits, other = torch.randn(2, 5, 7, generator=generator) * scale
    log_p, log_q = logits.log_softmax(1), other.log_softmax(1)
    ours = kl_divergence(logits, other)
    torch.testing.assert_close(ours, F.kl_div(log_q, log_p, log_target=True, reduction="batchmean"))
    assert kl_divergence(logits.double(), other).dtype == torch.float64
    assert kl_divergence(logits.bfloat16(), other.bfloat16()).dtype == torch.float32
    each = kl_divergence(logits, other, reduction="none")
    torch.testing.assert_close(each, F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(1))
    assert kl_divergence(logits, logits) == 0
