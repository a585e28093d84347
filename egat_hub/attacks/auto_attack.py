"""AutoAttack, adapted to any number of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from egat_hub.attacks.auto_attack_parts import (
    APGD,
    CHECKS,
    FAB,
    FP32Model,
    Part,
    Square,
    differ,
    model_flags,
)
from egat_hub.attacks.base import ATTACKS, Attack, AttackResult, Objective, project, without_float16
from egat_hub.attacks.curve import WorstCase
from egat_hub.core.config import check_choices
from egat_hub.core.randomness import SampleRandom, derive_seed
from egat_hub.models.train_mode import evaluating, frozen

BLACK_BOX = "square_better"


@dataclass(frozen=True, kw_only=True)
class AttackEnsemble(Attack):
    """AutoAttack for a model of a certain number of classes.

    Every run starts at the clean image, and a fresh forward decides whether it succeeded. Images that are
    misclassified clean are not attacked.

    Attributes:
        sequence: the attacks, in this order.
        settings: further fields of the protocol.
    """

    takes_objective: ClassVar[bool] = False

    sequence: tuple[Part, ...]
    settings: Mapping[str, Any]

    def protocol(self) -> dict[str, Any]:
        plan = ", ".join(f"{part.name} x{part.runs}" for part in self.sequence)
        return {**self.settings, "plan": plan}

    @property
    def passes(self) -> int:
        """Forwards and backwards for an image that is never misclassified, with verification and checks."""
        return 4 + sum(part.runs * (part.passes + 1) for part in self.sequence)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.sequence)

    @property
    def checks(self) -> tuple[str, ...]:
        black_box = any(isinstance(part, Square) for part in self.sequence)
        return (*CHECKS, BLACK_BOX) if black_box else CHECKS

    def perturb(
        self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom
    ) -> AttackResult:
        model, labels = objective.model, objective.labels
        seed = derive_seed(random.seed, random.step, "auto_attack", *random.index)
        with frozen(model), _seeded(seed, images.device):
            logits = model(images)
            if not torch.isfinite(logits).all():
                return AttackResult(torch.full_like(images, torch.nan))
            wrapped = FP32Model(model, images.dtype, logits.shape[1], images.device)
            flags = model_flags(model, images, labels)
            batch = WorstCase(model, images, labels, logits.argmax(1) == labels)
            correct_after: dict[str, Tensor] = {}
            for part in self.sequence:
                before = batch.correct.clone()
                for run in range(part.runs):
                    rows = batch.rows()
                    if len(rows) == 0:
                        break
                    clean, draws = images[rows], random.select(batch.correct)
                    pixels = clean.float().contiguous()
                    found = part.attempt(run, wrapped, pixels, labels[rows], epsilon, draws)
                    batch.update(project(found.to(clean.dtype), clean, epsilon), rows)
                correct_after[part.name] = batch.correct.clone()
                if isinstance(part, Square):
                    flags[BLACK_BOX] = before & ~batch.correct
        objective.finite = wrapped.finite
        return AttackResult(batch.images, correct_after, flags)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators, which models with random outputs draw from, and restore them after."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for one in cuda:
            with torch.cuda.device(one):
                torch.cuda.manual_seed(seed)
        yield


TARGETS = 9
"""Number of target classes, where there are as many."""

RESTARTS = 5
"""Runs of an attack that replaces nine targeted ones."""

SAMPLES = 20
"""Gradients that are averaged where outputs are random."""


@ATTACKS.register("auto_attack")
@dataclass(frozen=True, kw_only=True)
class AutoAttack(Attack):
    """The ensemble of Croce & Hein (2020): APGD on the cross-entropy, targeted APGD, targeted FAB, Square.

    It is defined for 10 classes or more. With K < 10, targeted attacks aim at the K - 1 other classes. The
    targeted DLR loss needs K >= 4: with 3 classes, 5 runs of APGD on the DLR loss replace it; with 2, where
    there is no DLR loss either, 5 runs on the margin of the logits do, and APGD on the cross-entropy has 5
    runs, too. Result rows record the plan that was run and what was replaced.

    Random numbers are keyed by image, so the batch affects rounding only. Models with random outputs are the
    exception: their own draws depend on the batch. They always get version ``"rand"``: APGD on cross-entropy
    and DLR loss, with gradients averaged over 20 samples.

    Cost: up to some 9700 forwards and backwards per image with 10 classes or more; see
    ``adapted(...).passes``.

    Attributes:
        version: ``"standard"``, or ``"rand"`` for models with random outputs.
        iterations: steps of a run of APGD or FAB.
        queries: squares that Square tries.

    Raises:
        ValueError: an unknown version, less than one iteration or query.
        ImportError: the package ``pyautoattack`` is not installed.
    """

    takes_objective: ClassVar[bool] = False

    version: Literal["standard", "rand"] = "standard"
    iterations: int = 100
    queries: int = 5000

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("iterations", "queries"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} of at least 1, got {getattr(self, name)}.")
        if find_spec("pyautoattack") is None:
            raise ImportError("AutoAttack needs the package pyautoattack: pip install 'egat-hub[autoattack]'")

    def adapted(self, model: nn.Module, images: Tensor) -> AttackEnsemble:
        """The attacks that are run on a model, chosen by its logits of two generated images.

        All batches therefore get the same attacks. Cost: two forwards.

        Raises:
            ValueError: the model has a single class.
        """
        logits, random = _probe(model, images)
        classes = logits.shape[1]
        if classes < 2:
            raise ValueError(f"Expected a model of at least 2 classes, got {classes}.")
        version = "rand" if random else self.version
        settings: dict[str, Any] = {"version": version, "iterations": self.iterations}
        replaced = []
        if version != self.version:
            replaced.append(f"{version} for {self.version}: outputs are random")
        if version == "rand":
            sequence, stock = self._rand(classes), "apgd_dlr"
        else:
            settings["queries"] = self.queries
            sequence, stock = self._standard(classes), "apgd_t"
            if classes <= TARGETS:
                replaced.append(f"{classes - 1} of {TARGETS} targets")
        if sequence[1].name != stock:
            replaced.append(f"{sequence[1].name} for {stock}")
        if replaced:
            settings["replaced"] = "; ".join(replaced)
        return AttackEnsemble(sequence=sequence, settings=settings)

    def perturb(
        self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom
    ) -> AttackResult:
        return self.adapted(objective.model, images).perturb(objective, images, epsilon, random)

    def _standard(self, classes: int) -> tuple[Part, ...]:
        n, targets = self.iterations, min(TARGETS, classes - 1)
        second: dict[int, Part] = {
            2: APGD(name="apgd_margin", loss="margin", iterations=n, runs=RESTARTS),
            3: APGD(name="apgd_dlr", loss="dlr", iterations=n, runs=RESTARTS),
        }
        targeted = APGD(name="apgd_t", loss="dlr-targeted", iterations=n, runs=targets)
        return (
            APGD(name="apgd_ce", loss="ce", iterations=n, runs=RESTARTS if classes == 2 else 1),
            second.get(classes, targeted),
            FAB(name="fab_t", iterations=n, runs=targets),
            Square(name="square", queries=self.queries),
        )

    def _rand(self, classes: int) -> tuple[Part, ...]:
        settings: dict[str, Any] = {"iterations": self.iterations, "samples": SAMPLES}
        second = (
            APGD(name="apgd_margin", loss="margin", **settings)
            if classes == 2
            else APGD(name="apgd_dlr", loss="dlr", **settings)
        )
        return APGD(name="apgd_ce", loss="ce", **settings), second


def _probe(model: nn.Module, images: Tensor) -> tuple[Tensor, bool]:
    """Logits of two generated images, and whether a second forward gives others."""
    noise = torch.rand((2, *images.shape[1:]), generator=torch.Generator().manual_seed(0)).to(images)
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), evaluating(model), without_float16(noise), torch.no_grad():
        first, second = (model(noise).float() for _ in range(2))
    return first, bool(differ(first, second).any())
