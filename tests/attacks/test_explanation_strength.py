"""Explanation attacks are stronger than chance."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from egat_hub.attacks import EXPLANATION_ATTACKS, PGD
from egat_hub.attacks.explanation import ExplainedBatch
from egat_hub.attacks.explanation_goals import MassCentre, TargetMap, centre, mass
from egat_hub.core.randomness import SampleRandom
from egat_hub.explanations.similarity import STABILITY
from tests.attacks.explanation_toy import SIZE, attack, explanation, make_images, trained

RAW = {"relu": False, "normalize": "none"}
IMAGES = make_images(16, seed=2)[0]
MOVING = sorted(name for name, cls in EXPLANATION_ATTACKS.items() if not cls.flips)


@torch.no_grad()
def agreement_under_noise(net, explain, epsilon):
    """Of maps before and after every pixel moves by epsilon, up or down at random."""
    noise = SampleRandom(0, tuple(range(len(IMAGES)))).uniform(IMAGES, -1, 1, "noise").sign()
    clean = ExplainedBatch.of(net, explain, IMAGES)
    noisy = ExplainedBatch.of(net, explain, (IMAGES + epsilon * noise).clamp(0, 1), clean.classes)
    return STABILITY["cosine"](clean.maps, noisy.maps, (SIZE, SIZE))


@pytest.mark.parametrize("explained", ["grad_cam", "input_gradient"])
@pytest.mark.parametrize("name", MOVING)
def test_maps_change_more_than_under_noise(name, explained):
    net, explain = trained(), explanation(explained, **RAW)
    found = attack(name, steps=8)(net, explain, IMAGES, 0.03)
    assert found.same_prediction.all()
    distance = 1 - found.agreement["cosine"].mean()
    assert distance > 10 * (1 - agreement_under_noise(net, explain, 0.03).mean())


@pytest.mark.parametrize("name", MOVING)
def test_large_budgets_change_most_maps_and_no_prediction(name):
    found = attack(name, steps=20)(trained(), explanation("grad_cam"), IMAGES, 0.1)
    assert found.success.float().mean() > 0.6
    assert found.same_prediction.all()


def test_keep_map_preserves_more_of_the_map_than_pgd():
    net, explain, epsilon = trained(), explanation("grad_cam", **RAW), 0.1
    found = attack("keep_map", steps=20)(net, explain, IMAGES, epsilon)
    with torch.no_grad():
        clean = ExplainedBatch.of(net, explain, IMAGES)
        plain = ExplainedBatch.of(net, explain, PGD(steps=20)(net, IMAGES, clean.classes, epsilon))
    flipped = ~found.same_prediction & (plain.classes != clean.classes)
    assert flipped.sum() > 8
    for measure in ("cosine", "topk_overlap"):
        plainly = STABILITY[measure](clean.maps, plain.maps, (SIZE, SIZE))
        assert found.agreement[measure][flipped].mean() > plainly[flipped].mean() + 0.15


def test_the_centre_moves_towards_the_farthest_corner():
    found = attack("mass_centre", steps=10)(trained(), explanation("grad_cam"), IMAGES, 0.05)
    before, after = (centre(mass(look.maps, (SIZE, SIZE))) for look in (found.clean, found.attacked))
    corner = (before < 0.5).float()
    assert ((after - corner).norm(dim=1) < (before - corner).norm(dim=1)).all()


def test_the_map_of_another_image_can_be_the_target():
    net, explain = trained(), explanation("grad_cam", **RAW)
    clean = ExplainedBatch.of(net, explain, IMAGES).maps.detach()
    wanted = clean.roll(1, 0)
    run = TargetMap(optimizer_options={"steps": 10}, target=wanted)
    found = run(net, explain, IMAGES, 0.05)
    nearer = torch.cosine_similarity(found.attacked.maps.flatten(1), wanted.flatten(1))
    assert (nearer > torch.cosine_similarity(clean.flatten(1), wanted.flatten(1))).all()
    assert run.protocol(explain)["target"] == "given"


@pytest.mark.parametrize("name", sorted(EXPLANATION_ATTACKS))
def test_restarts_are_independent_and_the_best_is_returned(name):
    net, explain, index = trained(), explanation("grad_cam"), tuple(range(len(IMAGES)))
    single = [attack(name)(net, explain, IMAGES, 0.05, random=SampleRandom(4, index, r)) for r in range(2)]
    both = attack(name, restarts=2)(net, explain, IMAGES, 0.05, random=SampleRandom(4, index))
    goal = attack(name).goal(both.clean.maps, (SIZE, SIZE))

    def reached(found):
        failed = found.same_prediction if EXPLANATION_ATTACKS[name].flips else ~found.same_prediction
        return goal(found.attacked.maps).masked_fill(failed, -torch.inf)

    first, second = map(reached, single)
    assert (first != second).any()
    torch.testing.assert_close(reached(both), torch.maximum(first, second))


@pytest.mark.parametrize("name", MOVING)
def test_softplus_makes_attacks_on_relu_networks_stronger(name):
    """A network of ReLUs gives no second derivatives, so what moves its input gradients is chance."""
    net, explain = trained(nn.ReLU), explanation("input_gradient")
    with_softplus, without = (
        attack(name, softplus=sharpness, steps=8)(net, explain, IMAGES, 0.03).agreement["cosine"].mean()
        for sharpness in (10.0, None)
    )
    assert 1 - with_softplus > 1.5 * (1 - without)


def test_momentum_moves_away_from_the_clean_image():
    run = MassCentre(optimizer="mi_fgsm", optimizer_options={"steps": 5})
    found = run(trained(), explanation("grad_cam"), IMAGES, 0.03)
    assert (found.agreement["cosine"] < 0.999).all()
