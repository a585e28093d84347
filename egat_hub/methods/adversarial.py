"""Methods that attack while they train: their base class, and PGD-AT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.attacks import TRAINING_ATTACKS, Attack, Objective
from egat_hub.attacks.base import ALL, Rows, Value, check_epsilon
from egat_hub.core.config import from_dict
from egat_hub.methods.base import METHODS, Batch, Method, MethodConfig
from egat_hub.models.cuda_graphs import GraphCache, check_capturable
from egat_hub.models.folding import Folding, Pair, find_pairs, folded


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig(MethodConfig):
    """Options of the training attack, by default PGD in an L-infinity ball.

    Attributes:
        start: start of PGD, unless ``training_attack_options`` set it.
        epsilon: radius in [0, 1] (the EGAT paper explores 0.01 to 0.04).
        attack_steps: PGD steps T.
        step_size: step relative to epsilon; by default 2.5 / T.
        epsilon_warmup: steps over which epsilon grows linearly to its full size.
        training_attack: name of a training attack. ``"n_fgsm"``, ``"fgsm_rs"`` and ``"warm"`` take steps of
            their own instead of ``attack_steps`` and ``step_size``.
        training_attack_options: its fields, such as ``{"tau": 1}``.
        attack_dtype: ``"bfloat16"`` to run the network in autocast to that type during the attack only. It
            rounds gradients, which changes the sign of small ones.
    """

    start: ClassVar[str] = "uniform"

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
        self.build_attack()

    def epsilon_at(self, step: int) -> float:
        """The radius at a training step."""
        return self.epsilon * min(1.0, (step + 1) / max(1, self.epsilon_warmup))

    def build_attack(self) -> Attack:
        """The training attack with its options."""
        attack = TRAINING_ATTACKS[self.training_attack]
        settings = {"steps": self.attack_steps, "step_size": self.step_size, "start": self.start}
        shared = {name: settings[name] for name in attack.method_options}
        return from_dict(attack, {**shared, **self.training_attack_options})


class AdversarialMethod(Method):
    """A method that attacks while it trains; state of the attack, if any, is part of ``state_dict``."""

    config: AdversarialConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._foldable: tuple[Pair, ...] | None = None
        self.attack = self.config.build_attack()
        self.memory = self.attack.state()
        self._graphs: GraphCache | None = None
        self._foldings: dict[str, Folding] | None = None

    @property
    def foldable(self) -> tuple[Pair, ...]:
        """The BatchNorm layers that attacks fold into the layer before them; found at the first attack."""
        if self._foldable is None:
            generator, size = torch.Generator().manual_seed(0), self.model.image_size
            images = torch.rand(2, 3, size, size, generator=generator, dtype=torch.float32, device="cpu")
            self._foldable = find_pairs(self.model, images)
        return self._foldable

    @classmethod
    def gradient_units(cls, config: Any) -> float:
        """Cost of a gradient of the attack's objective in forward-equivalents: a forward and a backward."""
        return 2.0

    @property
    def needs_index(self) -> bool:
        return self.memory is not None

    @contextmanager
    def attacking(self) -> Iterator[None]:
        """Eval mode with folded BatchNorm, for attacks and their targets; weights are constants inside."""
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

    def perturb(self, batch: Batch, objective: Objective | Value | None = None) -> Tensor:
        """Attacked images [B,3,H,W] of a step, which maximize an objective, by default the cross-entropy."""
        images, labels, epsilon = batch.images, batch.labels, self.config.epsilon_at(batch.step)
        if self.memory is not None:
            self.memory.frames = batch.frames
        with self.attacking():
            if self._graphs and self._foldings is not None and not isinstance(objective, Objective):
                objective = _CapturedObjective(self.model, labels, objective, self._graphs, self._foldings)
            result = self.attack.run(
                self.model, images, labels, epsilon, random=batch.random, objective=objective
            )
        if self.attack.variable_cost:
            batch.metrics["attack_gradients"] = torch.tensor(result.gradients, device=images.device)
        return result.images

    def _lowered(self) -> AbstractContextManager[object]:
        device = self.model.mean.device.type
        if self.config.attack_dtype is None:
            return nullcontext()
        if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ValueError("This GPU does not compute in bfloat16. Leave out attack_dtype.")
        return torch.autocast(device, dtype=torch.bfloat16)


class _CapturedObjective(Objective):
    """An objective whose gradients are launched as CUDA graphs, for whole batches."""

    def __init__(
        self,
        model: nn.Module,
        labels: Tensor,
        value: Value | None,
        cache: GraphCache,
        foldings: dict[str, Folding],
    ) -> None:
        super().__init__(model, labels, value)
        self.cache, self.foldings = cache, foldings

    def gradient(self, images: Tensor, rows: Rows = ALL) -> Tensor:
        graphs = None
        if len(images) == len(self.labels):
            graphs = self.cache.graphs(self.model, self.foldings, images)
        if graphs is None:
            return super().gradient(images, rows)
        return self.record(*graphs.gradient(images, lambda logits: self.value(logits, rows)))


@METHODS.register("pgd_at")
class PGDAT(AdversarialMethod):
    """``CE(f(x'), y)`` on ``x' = PGD(x)`` (Madry et al. 2018).

    ``"output"`` holds the logits of the attacked images: clean images are not used.
    Cost: T forwards and input backwards for the attack, one forward, one backward.
    """

    config_class = AdversarialConfig
    config: AdversarialConfig

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.model(self.perturb(batch))
        return logits, {"adv": F.cross_entropy(logits, batch.labels)}
