"""Methods that attack while they train, and PGD-AT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.attacks import PGD, TRAINING_ATTACKS, TrainingAttack
from egat_hub.attacks.base import check_epsilon
from egat_hub.attacks.memory import Memory
from egat_hub.attacks.training import Ascent, Rows, Slope
from egat_hub.methods.base import METHODS, Batch, Method, MethodConfig
from egat_hub.models.cuda_graphs import GraphCache, check_capturable
from egat_hub.models.folding import Folding, find_pairs, folded

RowObjective = Callable[[Tensor, Rows], Tensor]
"""What a training attack maximises: logits [b,C] and their rows in the batch to one value a sample [b]."""


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig(MethodConfig):
    """The training attack: by default PGD in an L-infinity ball.

    Attributes:
        epsilon: radius in pixel units (the EGAT paper explores 0.01 to 0.04; its default is not legible).
        attack_steps: PGD steps T.
        step_size: step relative to epsilon; by default 2.5 / T.
        epsilon_warmup: steps over which epsilon grows linearly to its full size.
        training_attack: name of a training attack; all but ``"pgd"`` make fewer or other steps than these.
        training_attack_options: its fields, such as ``{"tau": 1}``.
        attack_dtype: ``"bfloat16"`` to run the network in autocast to that type while it is attacked, and
            then alone. It rounds gradients, so that the sign of small ones is another.

    Raises:
        ValueError: epsilon outside [0, 1], or an option out of its range.
        UnknownNameError: a training attack that does not exist.
    """

    epsilon: float = 0.01
    attack_steps: int = 10
    step_size: float | None = None
    epsilon_warmup: int = 0
    training_attack: str = "pgd"
    training_attack_options: dict[str, Any] = field(default_factory=dict)
    attack_dtype: Literal["bfloat16"] | None = None

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        super().__post_init__()
        self.attack()
        self.build_training_attack()

    def epsilon_at(self, step: int) -> float:
        """The radius at a training step."""
        return self.epsilon * min(1.0, (step + 1) / max(1, self.epsilon_warmup))

    def attack(self) -> PGD:
        """PGD with a uniform random start, which the training attack starts from."""
        return PGD(steps=self.attack_steps, step_size=self.step_size)

    def build_training_attack(self) -> TrainingAttack:
        """The training attack that is configured."""
        return TRAINING_ATTACKS[self.training_attack](**self.training_attack_options)


class AdversarialMethod(Method):
    """A method that attacks while it trains, on a network made cheaper for as long as the attack lasts.

    What can be folded is found when the method is made; nothing of it enters ``state_dict``. What a training
    attack remembers does.
    """

    config: AdversarialConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        size, channels = self.model.image_size, self.model.mean.shape[1]
        images = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))
        self.foldable = find_pairs(self.model, images)
        self.training_attack = self.config.build_training_attack()
        self.memory = Memory() if self.training_attack.remembers else None
        self._graphs: GraphCache | None = None
        self._foldings: dict[str, Folding] | None = None

    @classmethod
    def gradient_units(cls, config: Any) -> float:
        """Units of a gradient of the attack's objective: a forward and a backward to the input."""
        return 2.0

    @property
    def needs_index(self) -> bool:
        return self.memory is not None

    @contextmanager
    def attacking(self) -> Iterator[None]:
        """Eval mode inside, with BatchNorm folded into the layers before it, which changes rounding alone.

        Weights are constants inside: attacks and their targets belong here, losses do not. What is computed
        inside has to be differentiated before the next attack.

        Raises:
            ValueError: ``attack_dtype`` is a type that the device does not compute in.
        """
        if self._foldings is not None:
            yield
            return
        with self._lowered():
            kept = self._graphs.refreshed(self.model) if self._graphs else None
            with folded(self.model, self.foldable, kept) as self._foldings:
                try:
                    yield
                finally:
                    self._foldings = None

    @contextmanager
    def captured(self) -> Iterator[None]:
        self.check_capturable(self.model.mean.device)
        before, self._graphs = self._graphs, GraphCache()
        try:
            yield
        finally:
            self._graphs = before

    def check_capturable(self, device: torch.device) -> None:
        check_capturable(self.model, device)

    def perturb(self, batch: Batch, objective: RowObjective | None = None) -> Tensor:
        """Attacked images [B,3,H,W] of a training step.

        Args:
            batch: of the step.
            objective: what to maximise; by default cross-entropy against the labels.
        """
        labels = batch.labels

        def cross_entropy(logits: Tensor, rows: Rows) -> Tensor:
            return F.cross_entropy(logits, labels[rows], reduction="none")

        value = objective or cross_entropy

        def slope(perturbed: Tensor, rows: Rows) -> Slope:
            if self._graphs and self._foldings is not None and len(perturbed) == len(labels):
                graphs = self._graphs.graphs(self.model, self._foldings, perturbed)
                if graphs is not None:
                    return Slope(*graphs.slope(perturbed, lambda logits: value(logits, rows)))
            with torch.enable_grad():
                perturbed = perturbed.detach().requires_grad_()
                logits = self.model(perturbed)
                return Slope(torch.autograd.grad(value(logits, rows).sum(), perturbed)[0], logits.detach())

        return self.maximise(batch, slope)

    def maximise(self, batch: Batch, slope: Callable[[Tensor, Rows], Slope]) -> Tensor:
        """Attacked images [B,3,H,W] for objectives that are no function of the logits.

        Args:
            batch: of the step.
            slope: from perturbed images and their rows in the batch, called inside of :meth:`attacking`.
        """
        ascent = Ascent(
            network=self.model,
            images=batch.images,
            labels=batch.labels,
            epsilon=self.config.epsilon_at(batch.step),
            random=batch.random,
            slope=slope,
            frames=batch.frames,
            memory=self.memory,
        )
        with self.attacking():
            found = self.training_attack.find(self.config.attack(), ascent)
        if self.training_attack.varies:
            batch.figures["attack_gradients"] = torch.tensor(found.gradients, device=batch.images.device)
        return found.images

    @contextmanager
    def _lowered(self) -> Iterator[None]:
        device = self.model.mean.device.type
        if self.config.attack_dtype is None:
            yield
            return
        if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ValueError("This GPU does not compute in bfloat16. Leave out attack_dtype.")
        with torch.autocast(device, dtype=torch.bfloat16):
            yield


@METHODS.register("pgd_at")
class PGDAT(AdversarialMethod):
    """``CE(f(x'), y)`` on ``x' = PGD(x)`` (Madry et al. 2018).

    ``"output"`` holds the logits of the attacked images: the clean ones are never seen.
    Cost: T forwards and input backwards for the attack, one forward, one backward.
    """

    config_class = AdversarialConfig
    config: AdversarialConfig

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.model(self.perturb(batch))
        return logits, {"adv": F.cross_entropy(logits, batch.labels)}
