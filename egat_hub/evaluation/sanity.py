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
from egat_hub.core.metric import Values, is_correct, key, percent
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.results import SANITY_CHECK
from egat_hub.evaluation.config import EvaluationConfig
from egat_hub.metrics.accuracy import LIMIT
from egat_hub.models.train_mode import evaluating, full_precision

CORNERS = 8
"""Number of random corners of the ball in the attack without gradients."""

HUGE = 0.5
"""A budget at which any image can be made uniformly gray."""


@dataclass(frozen=True, eq=False)
class AttackedModel:
    """A model under the attack of an evaluation, with results shared by the checks.

    Attacks on ``surrogates``, other models of the same classes, are tried, too.
    """

    model: nn.Module
    attack: Attack
    images: Tensor
    labels: Tensor
    epsilon: float
    random: SampleRandom
    surrogates: Sequence[nn.Module] = ()

    @property
    def iterative(self) -> IterativeAttack:
        """The attack, or PGD instead of one without steps of equal length."""
        return self.attack if isinstance(self.attack, IterativeAttack) else PGD()

    @cached_property
    def logits(self) -> Tensor:
        """Clean logits [B,C]."""
        return self.model(self.images)

    @cached_property
    def correct(self) -> Tensor:
        """Which clean images [B] are classified correctly."""
        return is_correct(self.logits, self.labels)

    @cached_property
    def robust(self) -> Tensor:
        """Which images [B] stay correct under the attack of several steps."""
        return self.robust_to(self.iterative, self.epsilon)

    @cached_property
    def robust_to_more_steps(self) -> Tensor:
        """Which images [B] stay correct under twice the steps."""
        return self.robust_to(replace(self.iterative, steps=2 * self.iterative.steps), self.epsilon)

    @cached_property
    def robust_to_single_step(self) -> Tensor:
        """Which images [B] stay correct under FGSM."""
        return self.robust_to(FGSM(), self.epsilon)

    def robust_to(self, attack: Attack, epsilon: float, against: nn.Module | None = None) -> Tensor:
        """Which images [B] stay correct under an attack on this or another model; others are not attacked."""
        still, chosen = self.correct.clone(), self.correct
        images, labels, random = self.images[chosen], self.labels[chosen], self.random.select(chosen)
        found = attack(against or self.model, images, labels, epsilon, random=random)
        still[chosen] = is_correct(self.model(found), labels)
        return still


def random_logits(attacked: AttackedModel) -> Tensor:
    """Images whose logits differ between two forwards, so that gradients are random."""
    return percent((attacked.model(attacked.images) != attacked.logits).any(1))


def zero_gradient(attacked: AttackedModel) -> Tensor:
    """Images whose loss has an exactly zero gradient, so that the attack does not change them."""
    with torch.enable_grad():
        images = attacked.images.detach().clone().requires_grad_()
        loss = F.cross_entropy(attacked.model(images), attacked.labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images)
    return percent(~gradient.flatten(1).any(1))


def more_steps(attacked: AttackedModel) -> Tensor:
    """Accuracy under an attack with twice the steps, minus that under the attack."""
    return _points(attacked.robust_to_more_steps, attacked.robust)


def weak_attack(attacked: AttackedModel) -> Tensor | None:
    """Accuracy under the attack, minus that under twice its steps or, for FGSM, under PGD.

    Not for other attacks without steps of one length, which run several attacks.
    """
    if isinstance(attacked.attack, IterativeAttack):
        return _points(attacked.robust, attacked.robust_to_more_steps)
    if not isinstance(attacked.attack, FGSM):
        return None
    stronger = (attacked.robust, attacked.robust_to_more_steps)
    return _points(attacked.robust_to_single_step, min(stronger, key=lambda correct: correct.sum().item()))


def larger_epsilon(attacked: AttackedModel) -> Tensor:
    """Accuracy under an attack with twice the budget, minus that under the attack."""
    return _points(attacked.robust_to(attacked.iterative, min(1.0, 2 * attacked.epsilon)), attacked.robust)


def single_step(attacked: AttackedModel) -> Tensor:
    """Accuracy under the attack, minus that under FGSM."""
    return _points(attacked.robust, attacked.robust_to_single_step)


def without_gradient(attacked: AttackedModel) -> Tensor:
    """Accuracy under the attack, minus that on random corners of the ball."""
    robust = attacked.correct.clone()
    for corner in range(CORNERS):
        if not robust.any():
            break
        images, draws = attacked.images[robust], replace(attacked.random.select(robust), step=corner)
        found = (images + attacked.epsilon * draws.uniform(images, -1, 1, "corner").sign()).clamp(0, 1)
        robust[robust.clone()] = is_correct(attacked.model(found), attacked.labels[robust])
    return _points(attacked.robust, robust)


def transfer(attacked: AttackedModel) -> Tensor | None:
    """Accuracy under the attack, minus that under the most harmful attack on a surrogate."""
    points = []
    for surrogate in attacked.surrogates:
        with evaluating(surrogate):
            robust = attacked.robust_to(attacked.iterative, attacked.epsilon, against=surrogate)
        points.append(_points(attacked.robust, robust))
    return max(points, key=lambda values: values.mean().item()) if points else None


def huge_epsilon(attacked: AttackedModel) -> Tensor:
    """Accuracy at epsilon 0.5, where every image can become gray."""
    return percent(attacked.robust_to(attacked.iterative, HUGE))


def _points(more: Tensor, less: Tensor) -> Tensor:
    return percent(more) - percent(less)


CHECKS: dict[str, Callable[[AttackedModel], Tensor | None]] = {
    check.__name__: check
    for check in (
        random_logits,
        zero_gradient,
        more_steps,
        weak_attack,
        larger_epsilon,
        single_step,
        without_gradient,
        transfer,
        huge_epsilon,
    )
}
"""Sanity checks by name: percentages [B], or None if a check does not apply."""

LIMITS = {name: 0.0 if name == "random_logits" else LIMIT for name in CHECKS}
"""Largest means over all images that pass."""


@torch.no_grad()
def check(attacked: AttackedModel) -> dict[str, Tensor]:
    """Percentages [B] by the name of the check; limits apply to the mean over all images.

    Cost, in forwards and backwards to the input: ``5 T + 2`` for an attack of T steps, ``T`` more for each
    surrogate, and a dozen forwards.
    """
    with evaluating(attacked.model):
        found = {name: values(attacked) for name, values in CHECKS.items()}
    return {name: values for name, values in found.items() if values is not None}


def measure_checks(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    random: SampleRandom,
    config: EvaluationConfig,
    masks: Tensor | None = None,
    *,
    attack: Attack | None = None,
    surrogates: Sequence[nn.Module] = (),
) -> Values:
    """Like ``measure``: sanity checks of an attack on pixels, at its smallest budget."""
    epsilon = min((epsilon for epsilon in config.epsilons if epsilon), default=0.0)
    attack = attack or config.build_attack()
    if not epsilon or attack.space != "pixels":
        return {}
    attacked = AttackedModel(model, attack, images, labels, epsilon, random, surrogates)
    with full_precision(images.device):
        found = check(attacked)
    values: Values = {}
    for name, percentages in found.items():
        checked = attack if name == "weak_attack" else attacked.iterative
        protocol = {"attack": checked.name, "epsilon": epsilon, **checked.protocol()}
        values[key(SANITY_CHECK, {"check": name, "limit": LIMITS[name], **protocol})] = percentages
    return values
