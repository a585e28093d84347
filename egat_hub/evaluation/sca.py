"""Evaluate a model under SCA on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from egat_hub.attacks.diffusion import SCA
from egat_hub.core.metric import Key, Values, is_correct
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.results import Outcome
from egat_hub.evaluation.config import check_labels
from egat_hub.evaluation.dataset import evaluate_by
from egat_hub.models.modes import evaluating, full_precision


def evaluate_sca(
    model: nn.Module,
    dataset: Dataset | Sequence[tuple[Tensor, int]],
    attack: SCA,
    *,
    latent_epsilons: Sequence[float] = (0.1,),
    noise_seed: int = 0,
    batch_size: int = 8,
    journal: str | Path | None = None,
    workers: int = 0,
    **noted: Any,
) -> list[Outcome]:
    """Accuracy under SCA, as result rows with the value of every image.

    Misclassified images count as broken and are not attacked; what broke at a smaller budget counts as broken
    at a larger one. The rows, in percent unless said otherwise:

    - ``clean_accuracy``;
    - ``robust_accuracy`` at ``latent_epsilon`` 0: correct after autoencoder and inversion alone, the control
      that says what of the rest is the attack's doing;
    - ``robust_accuracy`` at each of ``latent_epsilons``;
    - ``pixel_linf`` and ``pixel_l2``: how far the images that a budget broke moved in pixels, on average.
      They are not bounded.

    Protocols hold ``budget_space: "latent"`` and no ``epsilon``, so that no table or figure takes the budget
    for one of pixels. With several processes every one of them calls this function and gets all rows.

    Args:
        model: as for :func:`egat_hub.evaluate`.
        dataset: as for :func:`egat_hub.evaluate`.
        attack: the attack, with label names or a captioner in its prompts.
        latent_epsilons: budgets above 0, ascending.
        noise_seed: seed of the inversion's noise.
        batch_size: images in a batch.
        journal: folder that keeps measured batches, as for :func:`egat_hub.evaluate`; another pipeline of the
            same name is not told apart.
        workers: processes that load images.
        noted: further fields of the rows: ``method``, ``train_domain``, ``seed``, ``selection``.

    Raises:
        ValueError: budgets that are not above 0 and ascending, or as for :func:`egat_hub.evaluate`.
    """
    budgets = tuple(latent_epsilons)
    if not budgets or budgets[0] <= 0 or list(budgets) != sorted(set(budgets)):
        raise ValueError(f"Expected latent_epsilons above 0 and ascending, got {budgets}.")
    settings = {
        "protocols": [attack.protocol(epsilon) for epsilon in budgets],
        "seed": noise_seed,
    }
    return evaluate_by(
        partial(_measure, attack=attack, budgets=budgets),
        model,
        dataset,
        settings=settings,
        random_seed=noise_seed,
        batch_size=batch_size,
        workers=workers,
        journal=journal,
        **noted,
    )


@torch.no_grad()
def _measure(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    random: SampleRandom,
    *,
    attack: SCA,
    budgets: Sequence[float],
    masks: Tensor | None = None,
) -> Values:
    with evaluating(model), full_precision(images.device):
        logits = model(images)
        check_labels(labels, logits.shape[1])
        correct = is_correct(logits, labels)
        return _attacked(model, images, labels, correct, random, attack, budgets)


def _attacked(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    correct: Tensor,
    random: SampleRandom,
    attack: SCA,
    budgets: Sequence[float],
) -> Values:
    standing, restored = correct.clone(), correct.clone()
    columns = {Key("clean_accuracy"): 100.0 * correct}
    found: Values = {}
    for epsilon in budgets:
        rows = standing.nonzero()[:, 0]
        linf, l2 = (torch.full(labels.shape, torch.nan) for _ in range(2))
        if len(rows):
            result = attack.perturb(
                model, images[rows], labels[rows], epsilon, random=random.select(standing)
            )
            if epsilon == budgets[0]:
                restored[rows] = ~result.reconstruction
            broken = rows[result.success]
            standing[broken] = False
            linf[broken.cpu()] = result.pixel_linf[result.success].float().cpu()
            l2[broken.cpu()] = result.pixel_l2[result.success].float().cpu()
        protocol = tuple(attack.protocol(epsilon).items())
        found[Key("robust_accuracy", protocol)] = 100.0 * standing
        found[Key("pixel_linf", protocol)] = linf
        found[Key("pixel_l2", protocol)] = l2
    columns[Key("robust_accuracy", tuple(attack.protocol(0.0).items()))] = 100.0 * restored
    return columns | found
