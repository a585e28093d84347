"""The contract of attacks on explanations: what counts as one, and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from egat_hub.attacks import ATTACKS
from egat_hub.attacks.base import check_epsilon, without_float16
from egat_hub.backbone import Backbone
from egat_hub.explanation_attacks.look import Look
from egat_hub.explanation_attacks.outcome import AttackedMaps
from egat_hub.explanation_attacks.search import Goal, Search
from egat_hub.explanations import Explanation
from egat_hub.metrics import STABILITY
from egat_hub.modes import evaluating
from egat_hub.randomness import SampleRandom
from egat_hub.registry import Registry

EXPLANATION_ATTACKS: Registry[type[ExplanationAttack]] = Registry("explanation_attacks")


@dataclass(frozen=True, kw_only=True)
class ExplanationAttack(ABC):
    """A perturbation within an L-infinity ball that is after the map, not only after the prediction.

    The base class owns the contract; a subclass says what it wants of the maps. An image counts only if it is
    within the ball and within [0, 1], its prediction is as it has to be (unchanged, or flipped for an attack
    that keeps the map), and its map is alive. Of all images on the way of the optimiser and of all restarts,
    the best that counts is kept; where none does, the clean image is given back. Images do not influence
    each other.

    Cost of a step: a forward and two backwards to the input for maps on the last features. For maps made of n
    gradients by pixels it is 2 + 5n such passes, and 3 + 7n with ``softplus``.

    Attributes:
        optimizer: name of a gradient-based attack whose steps are taken.
        optimizer_options: its fields.
        restarts: independent runs.
        softplus: sharpness of the softplus that replaces ReLU in gradients where the map itself is a gradient
            (``Explanation.second_order``): second derivatives of ReLU networks are zero. What counts and what
            is reported is that of the network as it is. None leaves ReLU in place.
        overlap: share of their top 20 % pixels that two maps have to have in common to count as the same.
        flips: whether the attack is after a wrong prediction with the same map, rather than after another map
            with the same prediction.

    Raises:
        ValueError: no restart, a softplus that is not positive, an overlap outside (0, 1), or an optimiser
            that takes no gradient.
    """

    flips: ClassVar[bool] = False

    optimizer: str = "pgd"
    optimizer_options: dict[str, Any] = field(default_factory=lambda: {"steps": 50})
    restarts: int = 1
    softplus: float | None = 10.0
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if self.restarts < 1:
            raise ValueError(f"Expected at least 1 restart, got {self.restarts}.")
        if self.softplus is not None and not self.softplus > 0:
            raise ValueError(f"Expected a positive softplus, or None for ReLU, got {self.softplus}.")
        if not 0 < self.overlap < 1:
            raise ValueError(f"Expected overlap in (0, 1), a share of pixels, got {self.overlap}.")
        self.build_optimizer()

    def build_optimizer(self) -> Any:
        """The gradient-based attack whose steps are taken."""
        optimizer: Any = ATTACKS[self.optimizer](**self.optimizer_options)
        if not hasattr(optimizer, "ascend"):
            raise ValueError(
                f"Expected an optimizer that follows gradients, such as 'pgd', got {self.optimizer!r}."
            )
        return optimizer

    @final
    def __call__(
        self,
        backbone: Backbone,
        explanation: Explanation,
        images: Tensor,
        epsilon: float,
        *,
        random: SampleRandom | None = None,
    ) -> AttackedMaps:
        """Attack the maps of the predicted classes.

        Args:
            backbone: the network that is explained.
            explanation: how; its maps are attacked before ReLU and normalisation.
            images: clean images [B,3,H,W] in [0,1].
            epsilon: radius of the ball in pixel units, in [0, 1].
            random: keyed random numbers; restart r draws from r steps later.

        Raises:
            ValueError: epsilon outside [0, 1], or a network that cannot be explained in this way.
            FloatingPointError: a gradient is not finite.
        """
        check_epsilon(epsilon)
        explanation.check(backbone)
        explanation = replace(explanation, head_grad=True, relu=False, normalize="none")
        random = random or SampleRandom.by_position(images)
        with torch.inference_mode(False), torch.no_grad(), evaluating(backbone), without_float16(images):
            images = images.detach().clone()
            clean = Look.at(backbone, explanation, images)
            search = Search(
                backbone,
                explanation,
                images,
                clean,
                epsilon,
                self.goal(clean.maps, tuple(images.shape[-2:])),
                self.flips,
                self.softplus if explanation.second_order else None,
            )
            for restart in range(self.restarts):
                search.restart()
                draws = replace(random, step=random.step + restart)
                last = self.build_optimizer().ascend(search.gradient, backbone, images, epsilon, random=draws)
                search.offer(last, Look.at(backbone, explanation, last))
            return self._judge(backbone, explanation, images, clean, search.best)

    def protocol(self, explanation: Explanation) -> dict[str, Any]:
        """The settings that define the attack on ``explanation``, as result rows note them."""
        settings = {key: value for key, value in asdict(self).items() if not key.startswith("optimizer")}
        if not explanation.second_order:
            del settings["softplus"]
        return {"optimizer": self.optimizer, **self.build_optimizer().protocol(), **settings}

    @abstractmethod
    def goal(self, maps: Tensor, size: tuple[int, ...]) -> Goal:
        """What the attack wants.

        Args:
            maps: signed maps [B,h,w] of the clean images.
            size: of the images (H, W).

        Returns:
            A function of signed maps [B,h,w] that is ascended, image by image.
        """

    def _judge(
        self, backbone: Backbone, explanation: Explanation, images: Tensor, clean: Look, best: Tensor
    ) -> AttackedMaps:
        """A fresh look at what was found; what does not hold there is given up for the clean image."""
        shown = Look.at(backbone, explanation, best)
        holds = ((shown.predicted != clean.predicted) == self.flips) & shown.alive
        best, shown = torch.where(holds[:, None, None, None], best, images), shown.where(holds, clean)
        kept, alive = shown.predicted == clean.predicted, clean.alive & shown.alive
        agreement = {
            name: torch.where(alive, measure(clean.maps, shown.maps, tuple(images.shape[-2:])), torch.nan)
            for name, measure in STABILITY.items()
        }
        same = agreement["topk_overlap"] >= self.overlap
        success = alive & (kept != self.flips) & (same == self.flips)
        return AttackedMaps(best, clean, shown, kept, alive, agreement, success)
