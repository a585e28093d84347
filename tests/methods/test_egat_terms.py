"""Every term of EGAT against the equation it stands for, and the gradient of their sum."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.methods import EGAT
from tests.helpers.methods import CLASSES, batch, model
from tests.methods import reference

EPSILON, STEPS = 0.02, 3
WEIGHTS = {
    "lambda_cls": 0.9,
    "lambda_adv": 0.8,
    "lambda_egl": 0.7,
    "lambda_reg": 0.6,
    "adv_kl": 1.1,
    "adv_cam": 1.2,
    "reg_ce": 1.3,
    "reg_cam": 1.4,
    "reg_sparse": 1.5,
}


def distance(name, maps, guide):
    if name == "bce":  # the clamp is part of the definition: docs/paper.md, Eq. 8
        return F.binary_cross_entropy(maps.clamp(0.05, 0.95), guide)
    return F.l1_loss(maps, guide) if name == "l1" else F.mse_loss(maps, guide)


def expected(net, images, labels, c):
    random = SampleRandom(5, tuple(range(len(images))), 2)
    same_class = c.mixup_pairs == "same_class"
    attacked = reference.pgd_on_labels(net, images, labels, EPSILON, STEPS, random)
    partner = reference.partners(labels, random, same_class=same_class)
    share = random.beta(c.mixup_alpha, "mixup")
    mixed = reference.mix(images, partner, share)
    shares = reference.mix(F.one_hot(labels, CLASSES).float(), partner, share)
    targets = labels if same_class else shares

    def cam(inputs, target):
        return reference.grad_cam(net, inputs, target, head_grad=c.head_grad)

    clean, moved = reference.logits(net, images), reference.logits(net, attacked)
    maps, mixed_maps = cam(images, labels), cam(mixed, targets)
    guide = reference.luminance(images, *maps.shape[1:])
    if c.guide_noise:
        guide = (guide + c.guide_noise * random.normal(guide, "guide")).clamp(0, 1)
    return clean, {
        "cls": 0.9 * F.cross_entropy(clean, labels),
        "adv_kl": 0.8 * 1.1 * reference.kl(clean, moved),
        "adv_cam": 0.8 * 1.2 * distance(c.consistency, cam(attacked, labels), maps),
        "egl": 0.7 * distance(c.alignment, maps, guide),
        "reg_ce": 0.6 * 1.3 * -(shares * reference.logits(net, mixed).log_softmax(1)).sum(1).mean(),
        "reg_cam": 0.6 * 1.4 * distance(c.consistency, mixed_maps, reference.mix(maps, partner, share)),
        "reg_sparse": 0.6 * 1.5 * mixed_maps.mean(),
    }


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"freeze_bn": False, "views": "separate"},
        {"head_grad": True},
        {"consistency": "l2"},
        {"alignment": "l1"},
        {"alignment": "l2"},
        {"mixup_pairs": "any"},
        {"mixup_pairs": "any", "mixup_alpha": 2.0, "consistency": "l2", "head_grad": True},
        {"guide_noise": 0.3},
        {"name": "test_convnext"},
        {"name": "test_convnext", "head_grad": True},
    ],
    ids=lambda choice: "-".join(f"{k}={v}" for k, v in choice.items()) or "default",
)
def test_terms_and_their_gradient(choice):
    options = {k: v for k, v in choice.items() if k not in ("name", "freeze_bn")}
    network = {k: v for k, v in choice.items() if k in ("name", "freeze_bn")}
    ours, theirs = (model(**network).double() for _ in range(2))
    images, labels = batch(8)
    images = images.double()
    method = EGAT(ours, seed=5, epsilon=EPSILON, attack_steps=STEPS, **WEIGHTS, **options)
    result = method(images, labels, step=2)
    clean, terms = expected(theirs, images, labels, method.config)
    torch.testing.assert_close(result.pop("output"), clean)
    assert result.pop("metrics") == {}
    loss = result.pop("loss")
    torch.testing.assert_close(result, terms, rtol=1e-6, atol=1e-9)
    assert all(term > 1e-5 for term in terms.values())

    loss.backward()
    sum(terms.values()).backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        error = (mine.grad - other.grad).norm() / other.grad.norm()
        assert error < 1e-6, f"{name}: {error:.2g}"
