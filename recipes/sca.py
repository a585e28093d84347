"""Robust accuracy of a saved model under SCA, an attack through a diffusion model (docs/sca.md).

    python recipes/sca.py --model runs/vlcs/<run>/model --data vlcs --data.dir VLCS \
        --diffusion stable-diffusion-v1-5/stable-diffusion-v1-5

Needs a GPU; `accelerate launch` divides the images among several. Finished batches are stored in the output
folder, so interrupted runs resume.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from egat_hub.attacks.diffusion import SCA, Prompts, load_diffusion
from egat_hub.core.distributed import join_processes
from egat_hub.core.options import run_command
from egat_hub.core.results import write_outcomes
from egat_hub.data import DataChanges
from egat_hub.evaluation import EvaluationConfig, evaluate_per_image
from egat_hub.hub import from_pretrained
from egat_hub.hub.datasets import evaluation_images
from egat_hub.hub.tables import result_sections


def sca(
    *,
    model: str,
    diffusion: str,
    data: DataChanges = DataChanges(),
    domain: str | None = None,
    split: str = "test",
    latent_epsilons: tuple[float, ...] = (0.0, 0.1),
    batch_size: int = 8,
    precision: Literal["float32", "bfloat16", "float16"] = "float16",
    workers: int = 2,
    output: Path = Path("runs/sca"),
) -> None:
    """Attack every image of a split.

    Args:
        model: folder of a saved model, or its name on the Hub.
        diffusion: Hub id or folder of a Stable Diffusion pipeline of class 1.x or 2.x.
        data: the data set, by default that of the model's training; images take the model's size.
        domain: domain of the images; by default the one that the model was trained on.
        split: part of the domain.
        latent_epsilons: budgets on the latent; 0 is the control, a mere reconstruction of the image.
        batch_size: images in a batch.
        precision: of U-Net and text encoder.
        workers: processes that load images.
        output: folder of the results.
    """
    state = join_processes()
    classifier = from_pretrained(model)
    metadata = classifier.metadata
    view = evaluation_images(classifier, data, domain=domain, split=split)
    attack = SCA(
        diffusion=load_diffusion(diffusion, dtype=getattr(torch, precision), device=state.device),
        prompts=Prompts(label_names=classifier.label_names),
    )
    config = EvaluationConfig(epsilons=latent_epsilons, batch_size=batch_size).accuracy_only()
    outcomes = evaluate_per_image(
        classifier.to(state.device),
        view,
        config,
        attack=attack,
        journal=output / "batches",
        workers=workers,
        **{key: metadata[key] for key in ("method", "train_domain", "seed", "selection") if key in metadata},
    )
    if state.is_main_process:
        write_outcomes(output / "outcomes.jsonl", outcomes)
        for section in result_sections(row for row, _ in outcomes):
            print(f"{section.title}\n{section.note}\n\n{section.table}\n")


if __name__ == "__main__":
    run_command(sca)
