"""The contract of every registered training attack, under every adversarial method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch.nn import functional as F

from egat_hub.attacks import NFGSM, TRAINING_ATTACKS
from egat_hub.core.config import from_dict, to_dict
from egat_hub.core.registry import UnknownNameError
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.methods import METHODS, PGDAT, AdversarialMethod
from egat_hub.metrics.training_cost import count_passes
from tests.helpers.methods import FAST, batch, model

SIZE, EPSILON = 64, 0.04
INDEX = torch.arange(6) + 3
ADVERSARIAL = [name for name in METHODS if issubclass(METHODS[name], AdversarialMethod)]
REACH = {"n_fgsm": NFGSM().noise + NFGSM().step}


def make(attack: str, method: str = "pgd_at", **options) -> AdversarialMethod:
    short = {"points": 1, "attack_points": 1} if method == "ign" else {}
    settings = {**FAST, **short, "epsilon": EPSILON, "training_attack": attack, **options}
    return METHODS[method](model(size=SIZE), seed=4, **settings)


def attacked(
    method: AdversarialMethod, rows: slice = slice(None), step: int = 2, start: int = 0
) -> torch.Tensor:
    """The attacked images of a step."""
    seen = []
    perturb = method.perturb

    def watched(*args):
        seen.append(perturb(*args))
        return seen[-1]

    method.perturb = watched
    images, labels = batch(size=SIZE)
    method(images[rows], labels[rows], index=INDEX[rows] + start, step=step)
    del method.perturb
    return seen[-1]


@pytest.mark.parametrize("method", ADVERSARIAL)
@pytest.mark.parametrize("attack", TRAINING_ATTACKS)
def test_images_are_reproducible_and_within_reach(attack, method):
    images, (clean, _) = attacked(make(attack, method)), batch(size=SIZE)
    assert not images.requires_grad
    assert images.min() >= 0
    assert images.max() <= 1
    distance = (images - clean).abs().amax((1, 2, 3))
    assert (distance <= REACH.get(attack, 1) * EPSILON + 1e-6).all()
    assert (distance > 0).all()
    assert torch.equal(attacked(make(attack, method)), images)


@pytest.mark.parametrize("attack", TRAINING_ATTACKS)
def test_training_attacks_can_be_evaluated(attack):
    net, (images, labels) = model(size=SIZE).eval(), batch(size=SIZE)
    found = TRAINING_ATTACKS[attack]()(net, images, labels, EPSILON)
    with torch.no_grad():
        before, after = (F.cross_entropy(net(shown), labels, reduction="none") for shown in (images, found))
    assert after.mean() > before.mean()
    config = EvaluationConfig(epsilons=(EPSILON,)).accuracy_only()
    data = [*zip(images, labels, strict=True)]
    if attack in REACH:
        with pytest.raises(ValueError, match="by up to 3 epsilon"):
            evaluate(net, data, config, attack=TRAINING_ATTACKS[attack]())
        return
    rows = evaluate(net, data, config, attack=TRAINING_ATTACKS[attack]())
    (row,) = (row for row in rows if row.metric == "robust_accuracy")
    assert row.protocol["attack"] == attack
    assert row.protocol["epsilon"] == EPSILON


@pytest.mark.parametrize("attack", TRAINING_ATTACKS)
def test_images_depend_on_seed_step_and_index(attack):
    base = attacked(make(attack))
    other_seed = make(attack)
    other_seed.seed = 5
    for other in (attacked(other_seed), attacked(make(attack), step=3), attacked(make(attack), start=9)):
        assert ((other - base).abs() > 1e-6).float().mean() > 0.1


@dataclass(frozen=True, kw_only=True)
class FromCleanConfig(PGDAT.config_class):
    """As somebody else's method may attack."""

    start: ClassVar[str] = "clean"


class FromClean(PGDAT):
    config_class = FromCleanConfig


@pytest.mark.parametrize("attack", TRAINING_ATTACKS)
def test_an_attack_that_starts_at_the_image_stays_in_the_ball(attack):
    method = FromClean(
        model(size=SIZE),
        seed=4,
        **{**FAST, "epsilon": EPSILON, "attack_steps": 6, "training_attack": attack},
    )
    images, (clean, _) = attacked(method), batch(size=SIZE)
    distance = (images - clean).abs().amax((1, 2, 3))
    assert (distance <= REACH.get(attack, 1) * EPSILON + 1e-6).all()


@pytest.mark.parametrize("attack", TRAINING_ATTACKS)
def test_an_image_does_not_depend_on_its_batch(attack):
    whole, part = attacked(make(attack)), attacked(make(attack), slice(1, 4))
    assert ((whole[1:4] - part).abs() > 1e-6).float().mean() < 1e-2  # where a gradient is next to zero


@pytest.mark.parametrize("method", ADVERSARIAL)
@pytest.mark.parametrize("attack", TRAINING_ATTACKS)
def test_the_cost_of_a_step_follows_from_its_gradients(attack, method):
    images, labels = batch(size=SIZE)
    trained = make(attack, method, attack_steps=3)
    passes = count_passes(trained, images, labels)
    asked = {"pgd": 3, "ramp": 3, "early_stop": passes.attack_gradients}.get(attack, 1)
    gradient = trained.gradient_units(trained.config)
    rest = count_passes(make("fgsm_rs", method), images, labels).units - gradient
    assert passes.units == pytest.approx(rest + gradient * asked)
    assert (passes.attack_gradients > 0) is trained.attack.variable_cost


@pytest.mark.parametrize("attack", TRAINING_ATTACKS)
def test_bfloat16_is_for_the_attack_alone(attack):
    method, seen = make(attack, attack_dtype="bfloat16"), []
    method.model.net.get_classifier().register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    result = method(*batch(size=SIZE), index=INDEX)
    assert set(seen[:-1]) == {torch.bfloat16}
    assert seen[-1] == result["output"].dtype == torch.float32


def test_options_of_the_training_attack_round_trip():
    chosen = PGDAT.config_class(training_attack="ramp", training_attack_options={"first": 2})
    assert from_dict(PGDAT.config_class, to_dict(chosen)) == chosen


@pytest.mark.parametrize(
    ("attack", "options"),
    [
        ("ramp", {"first": 0}),
        ("ramp", {"over": 0}),
        ("ramp", {"schedule": "cubic"}),
        ("fgsm_rs", {"step": 0.0}),
        ("n_fgsm", {"noise": -1.0}),
        ("n_fgsm", {"step": 0.0}),
        ("early_stop", {"tau": -1}),
        ("warm", {"steps": 0}),
        ("warm", {"step_size": 0.0}),
    ],
)
def test_options_out_of_range_raise(attack, options):
    with pytest.raises(ValueError, match="Expected"):
        PGDAT.config_class(training_attack=attack, training_attack_options=options)


def test_unknown_names_and_unsupported_settings_raise():
    with pytest.raises(ValueError, match=r"PGD has no stepz\. Known: .*steps"):
        PGDAT.config_class(training_attack_options={"stepz": 3})
    with pytest.raises(ValueError, match="Expected tau of type int, got 'one'"):
        PGDAT.config_class(training_attack="early_stop", training_attack_options={"tau": "one"})
    with pytest.raises(UnknownNameError, match="Did you mean 'n_fgsm'"):
        PGDAT.config_class(training_attack="nfgsm")
    with pytest.raises(ValueError, match="attack_dtype"):
        PGDAT.config_class(attack_dtype="float16")
    with pytest.raises(ValueError, match="Leave out attack_dtype"):
        METHODS["ign"].config_class(attack_dtype="bfloat16")
    with pytest.raises(ValueError, match="Pass index="):
        make("warm")(*batch(size=SIZE))
