"""Sanity checks of attacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.attacks import FGSM, PGD, Attack
from egat_hub.attacks.pgd import IterativeAttack
from egat_hub.core.metric import is_correct
from egat_hub.core.randomness import SampleRandom
from egat_hub.metrics.accuracy import LIMIT
from egat_hub.models.train_mode import evaluating

CORNERS = 8
"""Number of random corners of the ball in the attack without gradients."""

HUGE = 0.5
"""A budget at which any image can be made uniformly gray."""


@dataclass(frozen=True, eq=False)
class Suspect:
    """A model under attack, with results shared by the checks.

    Attributes:
        model: images in [0,1] to logits, in eval mode.
        attack: an attack of several steps.
        images: [B,3,H,W] in [0,1].
        labels: true classes [B].
        epsilon: attack budget.
        random: random numbers of the images.
        surrogates: other models of the same classes; attacks on them are tried, too.
        configured: the attack of the evaluation, if it is another one.
    """

    model: nn.Module
    attack: IterativeAttack
    images: Tensor
    labels: Tensor
    epsilon: float
    random: SampleRandom
    surrogates: Sequence[nn.Module] = ()
    configured: Attack | None = None

    @cached_property
    def logits(self) -> Tensor:
        """Clean logits [B,C]."""
        return self.model(self.images)

    @cached_property
    def correct(self) -> Tensor:
        """Which clean images [B] are classified correctly."""
        return is_correct(self.logits, self.labels)

    @cached_property
    def withstands(self) -> Tensor:
        """Which images [B] stay correct under the attack."""
        return self.standing(self.attack, self.epsilon)

    @cached_property
    def withstands_more_steps(self) -> Tensor:
        """Which images [B] stay correct under twice the steps."""
        return self.standing(replace(self.attack, steps=2 * self.attack.steps), self.epsilon)

    @cached_property
    def withstands_single_step(self) -> Tensor:
        """Which images [B] stay correct under FGSM."""
        return self.standing(FGSM(), self.epsilon)

    def standing(self, attack: Attack, epsilon: float, against: nn.Module | None = None) -> Tensor:
        """Which images [B] stay correct under an attack on this or another model; others are not attacked."""
        still, chosen = self.correct.clone(), self.correct
        images, labels, random = self.images[chosen], self.labels[chosen], self.random.select(chosen)
        found = attack(against or self.model, images, labels, epsilon, random=random)
        still[chosen] = is_correct(self.model(found), labels)
        return still


@dataclass(frozen=True)
class SanityCheck:
    """A sanity check.

    Attributes:
        values: function that returns a percentage for each image [B], or None if the check does not apply.
        limit: largest mean that passes.
    """

    values: Callable[[Suspect], Tensor | None]
    limit: float


def random_logits(suspect: Suspect) -> Tensor:
    """Images whose logits differ between two forwards, so that gradients are random."""
    return _percent((suspect.model(suspect.images) != suspect.logits).any(1))


def zero_gradient(suspect: Suspect) -> Tensor:
    """Images whose loss has an exactly zero gradient, so that the attack does not change them."""
    with torch.enable_grad():
        images = suspect.images.detach().clone().requires_grad_()
        loss = F.cross_entropy(suspect.model(images), suspect.labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, images)
    return _percent(~slope.flatten(1).any(1))


def more_steps(suspect: Suspect) -> Tensor:
    """Accuracy under an attack with twice the steps, minus that under the attack."""
    return _points(suspect.withstands_more_steps, suspect.withstands)


def weak_attack(suspect: Suspect) -> Tensor | None:
    """Accuracy under the attack, minus that under twice its steps or, for FGSM, under PGD.

    Not for other attacks without steps of one length, which run several attacks.
    """
    if suspect.configured is None:
        return _points(suspect.withstands, suspect.withstands_more_steps)
    if not isinstance(suspect.configured, FGSM):
        return None
    stronger = (suspect.withstands, suspect.withstands_more_steps)
    return _points(suspect.withstands_single_step, min(stronger, key=lambda correct: correct.sum().item()))


def larger_epsilon(suspect: Suspect) -> Tensor:
    """Accuracy under an attack with twice the budget, minus that under the attack."""
    return _points(suspect.standing(suspect.attack, min(1.0, 2 * suspect.epsilon)), suspect.withstands)


def single_step(suspect: Suspect) -> Tensor:
    """Accuracy under the attack, minus that under FGSM."""
    return _points(suspect.withstands, suspect.withstands_single_step)


def without_gradient(suspect: Suspect) -> Tensor:
    """Accuracy under the attack, minus that on random corners of the ball."""
    standing = suspect.correct.clone()
    for corner in range(CORNERS):
        if not standing.any():
            break
        images, draws = suspect.images[standing], replace(suspect.random.select(standing), step=corner)
        found = (images + suspect.epsilon * draws.uniform(images, -1, 1, "corner").sign()).clamp(0, 1)
        standing[standing.clone()] = is_correct(suspect.model(found), suspect.labels[standing])
    return _points(suspect.withstands, standing)


def transfer(suspect: Suspect) -> Tensor | None:
    """Accuracy under the attack, minus that under the most harmful attack on a surrogate."""
    points = []
    for surrogate in suspect.surrogates:
        with evaluating(surrogate):
            standing = suspect.standing(suspect.attack, suspect.epsilon, against=surrogate)
        points.append(_points(suspect.withstands, standing))
    return max(points, key=lambda values: values.mean().item()) if points else None


def huge_epsilon(suspect: Suspect) -> Tensor:
    """Accuracy at epsilon 0.5, where every image can become gray."""
    return _percent(suspect.standing(suspect.attack, HUGE))


CHECKS: dict[str, SanityCheck] = {
    "random_logits": SanityCheck(random_logits, 0.0),
    "zero_gradient": SanityCheck(zero_gradient, LIMIT),
    "more_steps": SanityCheck(more_steps, LIMIT),
    "weak_attack": SanityCheck(weak_attack, LIMIT),
    "larger_epsilon": SanityCheck(larger_epsilon, LIMIT),
    "single_step": SanityCheck(single_step, LIMIT),
    "without_gradient": SanityCheck(without_gradient, LIMIT),
    "transfer": SanityCheck(transfer, LIMIT),
    "huge_epsilon": SanityCheck(huge_epsilon, LIMIT),
}
"""Sanity checks by name."""


def stand_in(attack: Attack) -> IterativeAttack:
    """The attack to check: PGD instead of attacks without steps of equal length."""
    return attack if isinstance(attack, IterativeAttack) else PGD()


@torch.no_grad()
def check(
    model: nn.Module,
    attack: IterativeAttack,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    *,
    random: SampleRandom,
    surrogates: Sequence[nn.Module] = (),
    configured: Attack | None = None,
) -> dict[str, Tensor]:
    """Percentages [B] by the name of the check; limits apply to the mean over all images.

    Cost, in forwards and backwards to the input: ``5 T + 2`` for an attack of T steps, ``T`` more for each
    surrogate, and a dozen forwards.

    Args:
        model: images in [0,1] to logits.
        attack: the attack to check.
        images: clean images [B,3,H,W] in [0,1].
        labels: true classes [B].
        epsilon: its budget.
        random: keyed random numbers of these images.
        surrogates: other models of the same classes.
        configured: the attack of the evaluation, if it is another one.
    """
    with evaluating(model):
        suspect = Suspect(model, attack, images, labels, epsilon, random, surrogates, configured)
        found = {name: CHECKS[name].values(suspect) for name in CHECKS}
    return {name: values for name, values in found.items() if values is not None}


def _percent(condition: Tensor) -> Tensor:
    return 100.0 * condition.float()


def _points(more: Tensor, less: Tensor) -> Tensor:
    return _percent(more) - _percent(less)
