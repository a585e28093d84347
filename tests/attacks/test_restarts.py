"""The worst of several restarts counts."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from egat_hub.attacks import attack_curve
from tests.attacks.toy_attacks import Noise, Recording, Scripted


def test_more_restarts_never_raise_accuracy(model, images, labels):
    budgets = (0.2, 0.35, 0.5)
    curves = [attack_curve(model, Noise(), images, labels, budgets, restarts=r) for r in (1, 2, 8)]
    for fewer, more in pairwise(curves):
        for one, other in zip(fewer, more, strict=True):
            assert not (other.correct & ~one.correct).any()
    assert curves[-1][-1].correct.sum() < curves[0][-1].correct.sum()


def test_restarts_keep_the_worst_image(model, images, labels):
    attack = Recording(step_size=0.1)
    (point,) = attack_curve(model, attack, images, labels, [0.01], restarts=4)
    assert [random.step for _, random, _ in attack.calls] == [0, 1, 2, 3]
    for _, random, found in attack.calls:
        for index, image in zip(random.index, found, strict=True):
            if point.correct[index]:
                kept, other = (
                    F.cross_entropy(model(x[None]), labels[[index]]) for x in (point.images[index], image)
                )
                assert kept >= other - 1e-5


def test_a_misclassified_image_is_worse_than_one_of_higher_loss():
    """Here it has the lower loss: 0.74 against 1.03."""
    clean, unsure, broken = torch.tensor([[1, 0, 0], [0.5, 0.49, 0.49], [0.99, 1, 0]]).view(3, 1, 3, 1, 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 3, bias=False))
    nn.init.eye_(model[1].weight).data.mul_(10)
    attack = Scripted(script=(unsure, broken))
    (point,) = attack_curve(model, attack, clean, torch.tensor([0]), [1.0], restarts=2)
    assert not point.correct.any()
    assert torch.equal(point.images, broken)
