"""Training attacks against their updates written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from egat_hub.attacks import Ramp
from egat_hub.core.randomness import SampleRandom
from egat_hub.methods import PGDAT, TRADES
from tests.attacks.test_training_contract import EPSILON, INDEX, SIZE, attacked, make
from tests.helpers.methods import batch, model
from tests.methods import reference

STEP = 2
RANDOM = SampleRandom(4, tuple(INDEX.tolist()), STEP)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal but for single pixels, whose gradient is next to zero."""
    assert ((ours - theirs).abs() > 1e-5).float().mean() < 1e-2


def sign(net, image, label):
    image = image.clone().requires_grad_()
    loss = F.cross_entropy(reference.logits(net, image[None]), label[None])
    return torch.autograd.grad(loss, image)[0].sign()


def test_fgsm_rs_is_one_step_from_a_random_point_of_the_ball():
    net, (images, labels) = model(size=SIZE).eval(), batch(size=SIZE)
    noise = RANDOM.uniform(images, -EPSILON, EPSILON, "attack")
    expected = []
    for image, label, shift in zip(images, labels, noise, strict=True):
        start = (image + shift).clamp(0, 1)
        moved = start + 1.25 * EPSILON * sign(net, start, label)
        expected.append((image + (moved - image).clamp(-EPSILON, EPSILON)).clamp(0, 1))
    close(attacked(make("fgsm_rs")), torch.stack(expected))


def test_n_fgsm_leaves_the_ball():
    net, (images, labels) = model(size=SIZE).eval(), batch(size=SIZE)
    noise = RANDOM.uniform(images, -2 * EPSILON, 2 * EPSILON, "attack")
    noisy = (images + noise).clamp(0, 1)
    steps = [EPSILON * sign(net, image, label) for image, label in zip(noisy, labels, strict=True)]
    found = attacked(make("n_fgsm"))
    close(found, (noisy + torch.stack(steps)).clamp(0, 1))
    assert (found - images).abs().max() > 2 * EPSILON


@pytest.mark.parametrize("tau", [0, 1])
def test_a_misclassified_image_moves_tau_steps_further(tau):
    net, (images, _) = model(size=SIZE).eval(), batch(size=SIZE)
    labels = reference.logits(net, images).argmax(1)
    labels[1] = (labels[1] + 1) % 4  # misclassified from the beginning
    noise, length, asked, expected = RANDOM.uniform(images, -EPSILON, EPSILON, "attack"), 0.5 * EPSILON, 0, []
    for image, label, shift in zip(images, labels, noise, strict=True):
        x, left = (image + shift).clamp(0, 1), tau
        for _ in range(6):
            asked += 1
            if reference.logits(net, x[None]).argmax() != label:
                if left == 0:
                    break
                left -= 1
            moved = x + length * sign(net, x, label)
            x = (image + (moved - image).clamp(-EPSILON, EPSILON)).clamp(0, 1)
        expected.append(x)
    options = {"training_attack": "early_stop", "training_attack_options": {"tau": tau}}
    method = PGDAT(model(size=SIZE), seed=4, epsilon=EPSILON, attack_steps=6, step_size=0.5, **options)
    seen = []
    method.model.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    result = method(images, labels, index=INDEX, step=STEP)
    close(seen[-1], torch.stack(expected))
    assert asked < 6 * len(images)
    assert result["metrics"]["attack_gradients"] == pytest.approx(asked / len(images))


def test_early_stop_equals_pgd_where_nothing_is_misclassified():
    net, (images, _) = model(size=SIZE), batch(size=SIZE)
    labels = reference.logits(net.eval(), images).argmax(1)
    losses = [
        make(attack, epsilon=1e-4)(images, labels, index=INDEX)["loss"] for attack in ("pgd", "early_stop")
    ]
    torch.testing.assert_close(*losses)


def test_warm_starts_where_the_method_does():
    images = batch(size=SIZE)[0]
    method = TRADES(
        model(size=SIZE), seed=4, epsilon=EPSILON, training_attack="warm", attack_steps=1,
        training_attack_options={"step_size": 1e-6},
    )  # fmt: skip
    torch.testing.assert_close(
        attacked(method), (images + 1e-3 * RANDOM.normal(images, "attack")).clamp(0, 1), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("schedule", "expected"), [("linear", [1, 3, 6, 8, 10, 10]), ("quadratic", [1, 2, 3, 6, 10, 10])]
)
def test_steps_grow_by_schedule(schedule, expected):
    ramp = Ramp(steps=10, over=100, schedule=schedule)
    assert [ramp.steps_at(step) for step in (0, 25, 50, 75, 100, 1000)] == expected
    assert [Ramp(steps=3, first=5).steps_at(step) for step in (0, 9999)] == [3, 3]


def test_a_ramp_is_pgd_of_as_many_steps():
    options = {"training_attack_options": {"over": 4}, "step_size": None, "attack_steps": 5}
    assert torch.equal(
        attacked(make("ramp", **options)), attacked(make("pgd", attack_steps=3, step_size=None))
    )
