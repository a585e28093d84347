"""Attacks for training that are cheaper than PGD."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from egat_hub.attacks.base import TRAINING_ATTACKS, Attack, Objective, project
from egat_hub.attacks.memory import PerturbationMemory
from egat_hub.attacks.pgd import PGD
from egat_hub.core.randomness import SampleRandom


@TRAINING_ATTACKS.register("n_fgsm")
@dataclass(frozen=True, kw_only=True)
class NFGSM(Attack):
    """``x' = x + k U(-e, e) + a e sign g`` with k = 2 and a = 1 (de Jorge et al., NeurIPS 2022).

    Neither start nor result is projected on the ball: a pixel moves by up to (k + a) epsilon and stays within
    [0, 1]. More noise and no projection are what keeps this single step from catastrophic overfitting in its
    paper's experiments; that is no guarantee. Cost: one gradient.

    Attributes:
        noise: k, the noise relative to epsilon.
        step: a, the length of the step relative to epsilon.
    """

    noise: float = 2.0
    step: float = 1.0

    def __post_init__(self) -> None:
        if self.noise < 0 or self.step <= 0:
            raise ValueError(
                f"Expected noise of at least 0 and a positive step, got {self.noise} and {self.step}."
            )

    @property
    def reach(self) -> float:
        return self.noise + self.step

    def perturb(self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        noise, length = self.noise * epsilon, self.step * epsilon
        noisy = (images + random.uniform(images, -noise, noise, "attack")).clamp(0, 1)
        return noisy + length * objective.gradient(noisy).sign()


@TRAINING_ATTACKS.register("fgsm_rs")
@dataclass(frozen=True, kw_only=True)
class FGSMRS(Attack):
    """``x' = P(P(x + U(-e, e)) + 1.25 e sign g)``, P onto the ball (Wong et al., ICLR 2020).

    One step may end in catastrophic overfitting: within a few hundred training steps, robustness to PGD falls
    to nothing while that to a single step stays high, the sooner the larger epsilon is. The sanity check
    ``single_step`` of an evaluation detects it; ``n_fgsm`` is less prone to it. Cost: one gradient.

    Attributes:
        step: length of the step relative to epsilon.
    """

    step: float = 1.25

    def __post_init__(self) -> None:
        self._pgd()

    def perturb(self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        return self._pgd().perturb(objective, images, epsilon, random)

    def _pgd(self) -> PGD:
        return PGD(steps=1, step_size=self.step)


@TRAINING_ATTACKS.register("ramp")
@dataclass(frozen=True, kw_only=True)
class Ramp(PGD):
    """PGD whose number of steps grows from ``first`` to ``steps`` (after Cai et al., IJCAI 2018).

    That paper adds a step once the network is robust; here a schedule does, so that the cost
    of a run is known in advance. The default length of a step follows the number at training step t:
    2.5 epsilon / T_t. Cost: T_t gradients.

    Attributes:
        first: number of steps at the beginning.
        over: training steps after which it is ``steps``.
        schedule: growth with the share s of ``over`` that has passed: ``"linear"``, or ``"quadratic"``, which
            is cheaper, by s^2.
    """

    variable_cost: ClassVar[bool] = True

    first: int = 1
    over: int = 5000
    schedule: Literal["linear", "quadratic"] = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.first, self.over) < 1:
            raise ValueError(f"Expected first and over of at least 1, got {self.first} and {self.over}.")

    def perturb(self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        pgd = PGD(steps=self.steps_at(random.step), step_size=self.step_size, start=self.start)
        return pgd.perturb(objective, images, epsilon, random)

    def steps_at(self, step: int) -> int:
        """Number of attack steps at a training step."""
        share = min(1.0, step / self.over)
        grown = share**2 if self.schedule == "quadratic" else share
        first = min(self.first, self.steps)
        return first + int(grown * (self.steps - first) + 0.5)


@TRAINING_ATTACKS.register("early_stop")
@dataclass(frozen=True, kw_only=True)
class EarlyStop(PGD):
    """PGD that stops at the first misclassified image (friendly adversarial training, Zhang et al. 2020).

    A misclassified image moves ``tau`` steps further and is then left as it is, so the batch shrinks. The
    prediction comes from the forward that the gradient takes anyway. Images are weaker than those of PGD, by
    design: clean accuracy gains, robustness to stronger attacks may not. Cost: at most ``steps`` gradients,
    fewer the less robust the network is, and a wait for the device in every step.

    Attributes:
        tau: steps that a misclassified image still moves (the paper: 0 to 3, growing).
    """

    variable_cost: ClassVar[bool] = True

    tau: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau < 0:
            raise ValueError(f"Expected tau of at least 0 steps, got {self.tau}.")

    def perturb(self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        perturbed, length = self.initial(images, epsilon, random).clone(), epsilon * self.relative_step
        rows = torch.arange(len(images), device=images.device)
        left = torch.full_like(rows, self.tau)
        for _ in range(self.steps):
            gradient = objective.gradient(perturbed[rows], rows)
            wrong = objective.logits.argmax(1) != objective.labels[rows]
            moving = ~wrong | (left[rows] > 0)
            left[rows] -= wrong.long()
            rows = rows[moving]
            if len(rows) == 0:
                break
            moved = perturbed[rows] + length * gradient[moving].sign()
            perturbed[rows] = project(moved, images[rows], epsilon)
        return perturbed


@TRAINING_ATTACKS.register("warm")
@dataclass(frozen=True, kw_only=True)
class Warm(PGD):
    """PGD that starts from the perturbation of the last epoch (ATTA, Zheng et al., CVPR 2020).

    Perturbations follow the augmentation (:class:`~egat_hub.attacks.memory.PerturbationMemory`) and are part
    of checkpoints. They are never reset; ATTA starts afresh every ten epochs. An image that has none yet
    starts where PGD does, so runs of few epochs gain little. Cost: ``steps`` gradients.

    Attributes:
        steps: steps per visit of an image.
        step_size: their length relative to epsilon; the default is an assumption.
    """

    method_options: ClassVar[tuple[str, ...]] = ("start",)

    steps: int = 1
    step_size: float | None = 1.0
    memory: PerturbationMemory = field(
        default_factory=PerturbationMemory, init=False, repr=False, compare=False
    )

    def state(self) -> PerturbationMemory:
        return self.memory

    def perturb(self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        found = super().perturb(objective, images, epsilon, random)
        self.memory.keep(random.index, (found - images) / epsilon)
        return found

    def initial(self, images: Tensor, epsilon: float, random: SampleRandom) -> Tensor:
        last = epsilon * self.memory.recall(random.index, images)
        fresh = super().initial(images, epsilon, random) - images
        return project(images + torch.where(last.isnan(), fresh, last), images, epsilon)
