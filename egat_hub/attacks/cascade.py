"""Attacks that run after each other, each on what the ones before it left standing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from egat_hub.attacks.auto_attack_parts import Part, Square, Victim
from egat_hub.attacks.base import Attack, Attacked, project
from egat_hub.attacks.checks import CHECKS, suspicions
from egat_hub.attacks.survivors import Survivors
from egat_hub.modes import frozen
from egat_hub.randomness import SampleRandom, derive_seed

BLACK_BOX = "square_better"


@dataclass(frozen=True, kw_only=True)
class Cascade(Attack):
    """AutoAttack as it is run on a model with a certain number of classes.

    Every run starts at the clean image, and a fresh forward decides what it broke. Images that are
    misclassified clean stay as they are.

    Attributes:
        sequence: the attacks, in this order.
        settings: what else rows note.
    """

    sequence: tuple[Part, ...]
    settings: Mapping[str, Any]

    def protocol(self) -> dict[str, Any]:
        plan = ", ".join(f"{part.name} x{part.runs}" for part in self.sequence)
        return {**self.settings, "plan": plan}

    @property
    def passes(self) -> int:
        """Forwards and backwards for one image that stands to the end, the verdicts and checks included."""
        return 4 + sum(part.runs * (part.passes + 1) for part in self.sequence)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.sequence)

    @property
    def checks(self) -> tuple[str, ...]:
        black_box = any(isinstance(part, Square) for part in self.sequence)
        return (*CHECKS, BLACK_BOX) if black_box else CHECKS

    def search(
        self, model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, random: SampleRandom
    ) -> Attacked:
        seed = derive_seed(random.seed, random.step, "auto_attack", *random.index)
        with frozen(model), _seeded(seed, images.device):
            logits = model(images)
            if not torch.isfinite(logits).all():
                return Attacked(torch.full_like(images, torch.nan))
            victim = Victim(model, images.dtype, logits.shape[1], images.device)
            flags = suspicions(model, images, labels)
            batch = Survivors(model, images, labels, logits.argmax(1) == labels)
            stands: dict[str, Tensor] = {}
            for part in self.sequence:
                before = batch.standing.clone()
                for run in range(part.runs):
                    rows = batch.rows()
                    if len(rows) == 0:
                        break
                    clean, draws = images[rows], random.select(batch.standing)
                    pixels = clean.float().contiguous()
                    found = part.attempt(run, victim, pixels, labels[rows], epsilon, draws)
                    batch.face(project(found.to(clean.dtype), clean, epsilon), rows)
                stands[part.name] = batch.standing.clone()
                if isinstance(part, Square):
                    flags[BLACK_BOX] = before & ~batch.standing
        return Attacked(torch.where(victim.finite, batch.worst, torch.nan), stands, flags)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators, which models with random outputs draw from, seeded inside and put back."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for one in cuda:
            with torch.cuda.device(one):
                torch.cuda.manual_seed(seed)
        yield
