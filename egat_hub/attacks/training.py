"""Attacks for training: PGD and its cheaper variants."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from egat_hub.attacks.base import Attacked, Gradient, GradientAttack, project
from egat_hub.attacks.memory import Memory
from egat_hub.attacks.pgd import PGD
from egat_hub.core.config import check_choices
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.registry import Registry

Rows = Tensor | slice
"""Positions in the batch [b], or a slice of it."""


class Slope(NamedTuple):
    """The gradient [b,3,H,W] of the summed objective by the images, and the logits [b,C] there."""

    gradient: Tensor
    logits: Tensor


@dataclass(frozen=True, eq=False)
class Ascent:
    """What is maximised in a training step, and where.

    Attributes:
        network: images in [0,1] to logits.
        images: clean images [B,3,H,W] in [0,1].
        labels: classes [B].
        epsilon: radius of the ball in pixel units, in [0, 1].
        random: keyed random numbers of this step and these images.
        slope: from perturbed images [b,3,H,W] and their rows in the batch. Cost: one gradient of the method's
            objective, for ``b`` images.
        frames: which part of its image each of ``images`` shows [B,5], as
            :class:`~egat_hub.attacks.memory.Memory` has it, or None for the whole of it.
        memory: perturbations of earlier epochs, for attacks that remember.
    """

    network: nn.Module
    images: Tensor
    labels: Tensor
    epsilon: float
    random: SampleRandom
    slope: Callable[[Tensor, Rows], Slope]
    frames: Tensor | None = None
    memory: Memory | None = None

    def follow(self, attack: GradientAttack, *, radius: float | None = None) -> Tensor:
        """The images [B,3,H,W] that an attack on all of them finds in a ball, by default that of epsilon."""
        return attack.ascend(
            lambda perturbed: self.slope(perturbed, slice(None)).gradient,
            self.network,
            self.images,
            self.epsilon if radius is None else radius,
            random=self.random,
        )


TRAINING_ATTACKS: Registry[type[TrainingAttack]] = Registry("training_attacks")


class Found(NamedTuple):
    """What a training attack found, and what it took.

    Attributes:
        images: perturbed images [B,3,H,W] in [0,1].
        gradients: gradients that were asked for, in units of a whole batch.
    """

    images: Tensor
    gradients: float


class TrainingAttack(ABC):
    """A way to the attacked images of a training step that starts from the method's own PGD.

    A subclass is a frozen dataclass whose fields are its options. It asks for gradients of the method's
    objective, whatever that is, and draws from keyed random numbers only.

    Attributes:
        varies: whether the number of gradients changes from step to step; it is then logged as
            ``attack_gradients``.
        remembers: whether images are known again in a later epoch, for which they need their numbers.
    """

    varies: ClassVar[bool] = False
    remembers: ClassVar[bool] = False

    @abstractmethod
    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        """Attack the images of a step.

        Args:
            pgd: the PGD that the method is configured with: its steps, their length, and where it starts.
            ascent: the step's images and the gradient of what is to be maximised.

        Raises:
            FloatingPointError: the gradient is not finite.
        """


@TRAINING_ATTACKS.register("pgd")
@dataclass(frozen=True, kw_only=True)
class PlainPGD(TrainingAttack):
    """Every step takes the same T steps (Madry et al. 2018). Cost: T gradients."""

    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        return Found(ascent.follow(pgd), pgd.steps)


@TRAINING_ATTACKS.register("n_fgsm")
@dataclass(frozen=True, kw_only=True)
class NFGSM(TrainingAttack):
    """``x' = x + k U(-e, e) + a e sign g`` with k = 2 and a = 1 (de Jorge et al., NeurIPS 2022).

    Neither start nor result is projected on the ball: a pixel moves by up to (k + a) epsilon and stays within
    [0, 1]. More noise and no projection are what keeps this single step from catastrophic overfitting in its
    paper's experiments; that is no guarantee. Number and length of the method's steps and its start are not
    used. Cost: one gradient.

    Attributes:
        noise: k, the noise relative to epsilon.
        step: a, the length of the step relative to epsilon.

    Raises:
        ValueError: negative noise, or a step that is not positive.
    """

    noise: float = 2.0
    step: float = 1.0

    def __post_init__(self) -> None:
        if self.noise < 0 or self.step <= 0:
            raise ValueError(
                f"Expected noise of at least 0 and a positive step, got {self.noise} and {self.step}."
            )

    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        attack = _NoisyStep(noise=self.noise * ascent.epsilon, length=self.step * ascent.epsilon)
        return Found(ascent.follow(attack, radius=min(1.0, attack.noise + attack.length)), 1)


@dataclass(frozen=True, kw_only=True)
class _NoisyStep(GradientAttack):
    """In pixel units, whatever the ball."""

    noise: float
    length: float

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        noisy = (images + random.uniform(images, -self.noise, self.noise, "attack")).clamp(0, 1)
        return noisy + self.length * gradient(noisy).sign()


@TRAINING_ATTACKS.register("fgsm_rs")
@dataclass(frozen=True, kw_only=True)
class FGSMRS(TrainingAttack):
    """``x' = P(P(x + U(-e, e)) + 1.25 e sign g)``, P onto the ball (Wong et al., ICLR 2020).

    Number and length of the method's steps and its start are not used. One step may end in catastrophic
    overfitting: within a few hundred training steps, robustness to PGD falls to nothing while that to a
    single step stays high, the sooner the larger epsilon is. The flag ``single_step`` of an evaluation tells;
    ``n_fgsm`` is less prone to it. Cost: one gradient.

    Attributes:
        step: length of the step relative to epsilon.

    Raises:
        ValueError: a step that is not positive.
    """

    step: float = 1.25

    def __post_init__(self) -> None:
        self._attack()

    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        return Found(ascent.follow(self._attack()), 1)

    def _attack(self) -> PGD:
        return PGD(steps=1, step_size=self.step)


@TRAINING_ATTACKS.register("ramp")
@dataclass(frozen=True, kw_only=True)
class Ramp(TrainingAttack):
    """The number of steps grows from ``first`` to the method's T (after Cai et al., IJCAI 2018).

    That paper adds a step when the network withstands the last number; here a schedule does, so that a run's
    cost is known beforehand. A step has its own length for each number: 2.5 epsilon / T_t, unless the method
    names one. Cost at training step t: T_t gradients.

    Attributes:
        first: steps at the beginning.
        over: training steps after which it is the method's T.
        schedule: growth with the share s of ``over`` that has passed: ``"linear"``, or ``"quadratic"``, which
            is cheaper, by s^2.

    Raises:
        ValueError: less than one step, or an unknown schedule.
    """

    varies: ClassVar[bool] = True

    first: int = 1
    over: int = 5000
    schedule: Literal["linear", "quadratic"] = "linear"

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("first", "over"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} of at least 1, got {getattr(self, name)}.")

    def steps_at(self, step: int, last: int) -> int:
        """Number of attack steps at a training step, ``last`` in the end; never more than that."""
        share = min(1.0, step / self.over)
        grown = share**2 if self.schedule == "quadratic" else share
        first = min(self.first, last)
        return first + int(grown * (last - first) + 0.5)

    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        steps = self.steps_at(ascent.random.step, pgd.steps)
        return Found(ascent.follow(replace(pgd, steps=steps)), steps)


@TRAINING_ATTACKS.register("early_stop")
@dataclass(frozen=True, kw_only=True)
class EarlyStop(TrainingAttack):
    """The first image that is misclassified is taken (friendly adversarial training, Zhang et al. 2020).

    An image that is broken moves ``tau`` steps further and is then left as it is, so the batch shrinks;
    whether it is broken is read off the forward that its gradient takes anyway. The images are weaker than
    those of PGD, by design: clean accuracy gains, robustness to stronger attacks may not. Cost: at most T
    gradients, fewer the less the network withstands, and a wait for the device in every step.

    Attributes:
        tau: steps that a broken image still moves (the paper: 0 to 3, growing).

    Raises:
        ValueError: a negative number.
    """

    varies: ClassVar[bool] = True

    tau: int = 0

    def __post_init__(self) -> None:
        if self.tau < 0:
            raise ValueError(f"Expected tau of at least 0 steps, got {self.tau}.")

    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        asked = 0

        def search(images: Tensor, random: SampleRandom) -> Attacked:
            nonlocal asked
            length = ascent.epsilon * pgd.relative_step
            perturbed = pgd.begin(images, ascent.epsilon, random).clone()
            rows = torch.arange(len(images), device=images.device)
            left = torch.full_like(rows, self.tau)
            for _ in range(pgd.steps):
                slope = ascent.slope(perturbed[rows], rows)
                asked += len(rows)
                if not torch.isfinite(slope.gradient).all():
                    return Attacked(torch.full_like(images, torch.nan))
                broken = slope.logits.argmax(1) != ascent.labels[rows]
                going = ~broken | (left[rows] > 0)
                left[rows] -= broken.long()
                rows = rows[going]
                if len(rows) == 0:
                    break
                moved = perturbed[rows] + length * slope.gradient[going].sign()
                perturbed[rows] = project(moved, images[rows], ascent.epsilon)
            return Attacked(perturbed)

        found = pgd.bounded(search, ascent.network, ascent.images, ascent.epsilon, ascent.random)
        return Found(found.images, asked / len(ascent.images))


@TRAINING_ATTACKS.register("warm")
@dataclass(frozen=True, kw_only=True)
class Warm(TrainingAttack):
    """The perturbation of every training image goes on from epoch to epoch (ATTA, Zheng et al., CVPR 2020).

    Perturbations move with the augmentation (:class:`~egat_hub.attacks.memory.Memory`), are part of
    checkpoints, and begin where the method's PGD does. They are never forgotten; ATTA starts afresh every ten
    epochs. They say nothing about an image in its first epoch, so runs of few epochs gain little. Number and
    length of the method's steps are not used. Cost: ``steps`` gradients.

    Attributes:
        steps: steps in a visit of an image.
        step_size: their length relative to epsilon; the default is an assumption.

    Raises:
        ValueError: less than one step, or a step that is not positive.
    """

    remembers: ClassVar[bool] = True

    steps: int = 1
    step_size: float = 1.0

    def __post_init__(self) -> None:
        PGD(steps=self.steps, step_size=self.step_size)

    def find(self, pgd: PGD, ascent: Ascent) -> Found:
        assert ascent.memory is not None
        numbers, images, epsilon = ascent.random.index, ascent.images, ascent.epsilon
        kept = epsilon * ascent.memory.recall(numbers, ascent.frames, images)
        start = torch.where(kept.isnan(), pgd.begin(images, epsilon, ascent.random) - images, kept)
        attack = _Onwards(pgd=PGD(steps=self.steps, step_size=self.step_size), start=images + start)
        found = ascent.follow(attack)
        if epsilon:
            ascent.memory.keep(numbers, ascent.frames, (found - images) / epsilon)
        return Found(found, self.steps)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Onwards(GradientAttack):
    """PGD from given images."""

    pgd: PGD
    start: Tensor

    def run(self, gradient: Gradient, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        return self.pgd.climb(gradient, project(self.start, images, epsilon), images, epsilon)
