"""Saliency maps of several models side by side, clean and under attack (Fig. 4 of the EGAT paper).

    python recipes/case_study.py runs/pacs/<run>/model org/name --data pacs --data.dir PACS \
        --explanations grad_cam smooth_grad --epsilon 0.01

Takes saved models or Hub ids with the same classes. Writes ``case_study_<domain>_<explanation>.png`` for each
explanation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from egat_hub.core.options import run_command
from egat_hub.data import DataChanges
from egat_hub.evaluation import EvaluationConfig
from egat_hub.experiments.plots import case_study_of, save_figure
from egat_hub.hub import from_pretrained
from egat_hub.hub.classifier import Classifier
from egat_hub.hub.datasets import evaluation_images
from egat_hub.models import TimmModel


def case_study(
    models: tuple[str, ...],
    *,
    data: DataChanges = DataChanges(),
    domain: str | None = None,
    split: str = "test",
    positions: tuple[int, ...] = (),
    explanations: tuple[str, ...] = ("grad_cam",),
    attack: str = "pgd",
    attack_options: dict[str, Any] | None = None,
    epsilon: float = 0.01,
    output: Path = Path("runs/case_study"),
) -> None:
    """Draw maps of the predicted class, clean and attacked: a column a model, two lines an image.

    Args:
        models: folders of saved models, or names on the Hub.
        data: the data set, by default that of the models' training; images take the size of each model.
        domain: domain of the images; by default the one that the first model was trained on.
        split: part of the domain.
        positions: which images of the split; by default the first of each of three classes.
        explanations: names of explanations; each gives a figure.
        attack: name of the attack on each model's predictions.
        attack_options: its fields.
        epsilon: its budget, in [0, 1].
        output: folder of the figures.
    """
    if not models:
        raise ValueError("Expected at least one model to look at.")
    evaluation = EvaluationConfig(epsilons=(epsilon,), attack=attack, attack_options=attack_options or {})
    classifiers = [from_pretrained(model) for model in models]
    views = [evaluation_images(one, data, domain=domain, split=split) for one in classifiers]
    sizes = {one.model.image_size for one in classifiers}
    if len(sizes) > 1:
        raise ValueError(f"Expected models of one image size, got {', '.join(map(str, sorted(sizes)))}.")
    output.mkdir(parents=True, exist_ok=True)
    columns = named(classifiers, models)
    for name in explanations:
        figure = case_study_of(columns, views[0], replace(evaluation, explanation=name), positions)
        path = output / f"case_study_{views[0].domain.name}_{name}.png"
        save_figure(figure, path)
        print(path)


def named(classifiers: Sequence[Classifier], sources: Sequence[str]) -> dict[str, TimmModel]:
    """Networks by their method, with the source where that names several."""
    methods = [one.metadata.get("method") or source for one, source in zip(classifiers, sources, strict=True)]
    return {
        method if methods.count(method) == 1 else f"{method}, {source}": one.model
        for method, source, one in zip(methods, sources, classifiers, strict=True)
    }


if __name__ == "__main__":
    run_command(case_study)
